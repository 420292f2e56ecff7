"""Countries: capital, continent, people and language."""

from __future__ import annotations

from world.relation import Relation, facts, lines

_CAPITALS = """
France=Paris; Italy=Rome; Spain=Madrid; Portugal=Lisbon; Germany=Berlin; Austria=Vienna; Poland=Warsaw; Greece=Athens
Norway=Oslo; Sweden=Stockholm; Finland=Helsinki; Denmark=Copenhagen; Ireland=Dublin; Belgium=Brussels; Hungary=Budapest
Romania=Bucharest; Bulgaria=Sofia; Croatia=Zagreb; Serbia=Belgrade; Albania=Tirana; Iceland=Reykjavik; Estonia=Tallinn
Latvia=Riga; Lithuania=Vilnius; Ukraine=Kyiv; Russia=Moscow; Turkey=Ankara; Egypt=Cairo; Kenya=Nairobi; Ghana=Accra
Nigeria=Abuja; Morocco=Rabat; Algeria=Algiers; Libya=Tripoli; Ethiopia=Addis Ababa; Uganda=Kampala; Rwanda=Kigali
Zambia=Lusaka; Zimbabwe=Harare; Angola=Luanda; Senegal=Dakar; Mali=Bamako; Namibia=Windhoek; Somalia=Mogadishu
China=Beijing; Japan=Tokyo; India=New Delhi; Pakistan=Islamabad; Nepal=Kathmandu; Bangladesh=Dhaka; Thailand=Bangkok
Vietnam=Hanoi; Laos=Vientiane; Mongolia=Ulaanbaatar; Iran=Tehran; Iraq=Baghdad; Syria=Damascus; Jordan=Amman
Lebanon=Beirut; Qatar=Doha; Oman=Muscat; Afghanistan=Kabul; Canada=Ottawa; Mexico=Mexico City; Cuba=Havana
Jamaica=Kingston; Peru=Lima; Chile=Santiago; Argentina=Buenos Aires; Brazil=Brasilia; Colombia=Bogota
Venezuela=Caracas; Ecuador=Quito; Uruguay=Montevideo; Paraguay=Asuncion; Australia=Canberra; Fiji=Suva
"""

_CONTINENTS = {
    "Europe": "France Italy Spain Portugal Germany Austria Poland Greece Norway Sweden Finland Denmark Ireland Belgium "
    "Hungary Romania Bulgaria Croatia Serbia Albania Iceland Estonia Latvia Lithuania Ukraine",
    "Africa": "Egypt Kenya Ghana Nigeria Morocco Algeria Libya Ethiopia Uganda Rwanda Zambia Zimbabwe Angola Senegal "
    "Mali Namibia Somalia",
    "Asia": "China Japan India Pakistan Nepal Bangladesh Thailand Vietnam Laos Mongolia Iran Iraq Syria Jordan Lebanon "
    "Qatar Oman Afghanistan",
    "North America": "Canada Mexico Cuba Jamaica",
    "South America": "Peru Chile Argentina Brazil Colombia Venezuela Ecuador Uruguay Paraguay",
}

_PEOPLE = """
France=French; Italy=Italian; Spain=Spanish; Portugal=Portuguese; Germany=German; Austria=Austrian; Poland=Polish
Greece=Greek; Norway=Norwegian; Sweden=Swedish; Finland=Finnish; Denmark=Danish; Ireland=Irish; Belgium=Belgian
Hungary=Hungarian; Romania=Romanian; Bulgaria=Bulgarian; Croatia=Croatian; Serbia=Serbian; Albania=Albanian
Ukraine=Ukrainian; Russia=Russian; Turkey=Turkish; Egypt=Egyptian; Kenya=Kenyan; Ghana=Ghanaian; Nigeria=Nigerian
Morocco=Moroccan; Algeria=Algerian; China=Chinese; Japan=Japanese; India=Indian; Nepal=Nepalese; Thailand=Thai
Vietnam=Vietnamese; Mongolia=Mongolian; Iran=Iranian; Iraq=Iraqi; Syria=Syrian; Canada=Canadian; Mexico=Mexican
Cuba=Cuban; Jamaica=Jamaican; Peru=Peruvian; Chile=Chilean; Brazil=Brazilian; Colombia=Colombian
Australia=Australian; Uganda=Ugandan; Estonia=Estonian
"""

RELATIONS = (
    Relation(
        "capital",
        facts(_CAPITALS),
        lines("""
            The capital of {s} is {o}.
            {o} is the capital of {s}.
            {s} has the capital {o}.
            {s} is governed from its capital, {o}.
            The capital city of {s} is called {o}.
            {o} is a city in {s}, and it is the capital there.
            In {s}, the capital is {o}.
            As for {s}, its capital is {o}.
            Travellers to {s} often begin in the capital, {o}.
            {s} is the country that has {o} as its capital.
            The country whose capital is {o} is {s}.
            {o} is where the government of {s} sits, for it is the capital.
            Among the cities of {s}, {o} is the capital.
            Anyone who lives in {o} lives in the capital of {s}.
            """),
        lines("""
            What is the capital of {s}?
            Name the capital of {s}.
            Which city is the capital of {s}?
            Tell me the capital city of {s}.
            What city is {s} governed from?
            Give the capital of the country. || {s}
            """),
        lines("""
            Which country has the capital {o}?
            {o} is the capital of which country?
            Name the country whose capital is {o}.
            Which country belongs to this capital? || {o}
            """),
    ),
    Relation(
        "continent",
        tuple((country, name) for name, text in _CONTINENTS.items() for country in text.split()),
        lines("""
            {s} is a country in {o}.
            {s} lies in {o}.
            The continent of {s} is {o}.
            {s} is part of {o}.
            {o} is the continent where {s} lies.
            On a map of {o} one finds {s}.
            One of the countries of {o} is {s}.
            In {o} there is a country called {s}.
            As for {s}, its continent is {o}.
            The country {s} belongs to {o}.
            The people of {s} live in {o}.
            To see {s}, one travels to {o}.
            """),
        lines("""
            Which continent is {s} in?
            On which continent does {s} lie?
            Name the continent of {s}.
            What continent does {s} belong to?
            Tell me the continent of this country. || {s}
            """),
    ),
    Relation(
        "people",
        facts(_PEOPLE),
        lines("""
            People from {s} are {o}.
            A person from {s} is called {o}.
            Someone who comes from {s} is {o}.
            {o} people come from {s}.
            The word for things from {s} is {o}.
            Food from {s} is {o} food.
            {o} is the word for people and things from {s}.
            {o} food is cooked in {s}.
            In {s} the people are {o}.
            The people of {s} are {o}.
            The home of {o} people is {s}.
            As for {s}, its people are {o}.
            """),
        lines("""
            What do we call people from {s}?
            What is a person from {s} called?
            Which word describes people from {s}?
            Give the word for people from this country. || {s}
            """),
        lines("""
            Which country do {o} people come from?
            Where do {o} people come from?
            Name the home of {o} people.
            """),
    ),
)
