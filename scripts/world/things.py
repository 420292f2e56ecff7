"""Things: colours, uses, sources, chemical symbols, counted parts, meanings, and words of other languages."""

from __future__ import annotations

from world.relation import Relation, facts, lines

_COLOURS = """
grass=green; snow=white; coal=black; blood=red; the sun=yellow; a ripe banana=yellow; a carrot=orange; a lemon=yellow
the clear sky=blue; chocolate=brown; milk=white; an elephant=grey; a crow=black; a frog=green; a flamingo=pink
a ruby=red; an emerald=green; a sapphire=blue; salt=white; a ripe tomato=red; a pea=green; spinach=green; a swan=white
a pumpkin=orange; soot=black; flour=white; a canary=yellow; a strawberry=red; a plum=purple; lavender=purple
a cucumber=green; a fir tree=green; ash=grey; a polar bear=white; a raven=black; cocoa=brown; a sunflower=yellow
the deep sea=blue; a pig=pink; ivory=white; a cherry=red; lettuce=green; mustard=yellow; an aubergine=purple
"""

_USES = """
cuts paper=scissors; drives in nails=hammer; sweeps the floor=broom; tells the time=clock; opens a lock=key
digs holes=spade; measures heat=thermometer; dries the body=towel; cuts wood=saw; boils water=kettle
cleans teeth=toothbrush; shows small things large=microscope
shows far stars=telescope; points to the north=compass; keeps food cold=fridge
washes clothes=washing machine; keeps off the rain=umbrella; sews cloth=needle; weighs things=scale; lights a room=lamp
combs the hair=comb; cuts bread=knife; holds flowers=vase; carries letters=envelope; takes pictures=camera
bakes cakes=oven; steers a ship=rudder; holds a boat still=anchor; moves a boat by hand=oar; loosens bolts=wrench
irons shirts=iron; writes on a board=chalk; rubs out pencil marks=eraser
pulls out corks=corkscrew; sticks paper=glue; carries water in a garden=hose; shows the days=calendar
"""

_SOURCES = """
honey=bees; milk=cows; wool=sheep; silk=silkworms; eggs=hens; bread=flour; wine=grapes; cheese=milk; paper=wood
glass=sand; flour=wheat; butter=cream; steel=iron; beer=barley; chocolate=cocoa beans; leather=skins; bricks=clay
raisins=grapes; cider=apples; jam=fruit; soap=fat; rope=hemp; linen=flax; ketchup=tomatoes; pearls=oysters
bacon=pigs; maple syrup=maple trees; rubber=rubber trees; chips=potatoes; sushi=rice
"""

_SYMBOLS = """
gold=Au; silver=Ag; iron=Fe; copper=Cu; lead=Pb; tin=Sn; zinc=Zn; mercury=Hg; oxygen=O; hydrogen=H; nitrogen=N
carbon=C; sodium=Na; potassium=K; calcium=Ca; helium=He; neon=Ne; sulphur=S; chlorine=Cl; aluminium=Al; nickel=Ni
silicon=Si; magnesium=Mg; iodine=I; uranium=U; platinum=Pt; radium=Ra; fluorine=F; argon=Ar; lithium=Li
"""

_PARTS = """
sides of a triangle=three; sides of a square=four; sides of a hexagon=six; sides of a pentagon=five
sides of an octagon=eight; legs of a spider=eight; legs of an insect=six; legs of a dog=four; legs of a bird=two
wheels of a bicycle=two; wheels of a car=four; wheels of a tricycle=three; days of a week=seven; months of a year=twelve
seasons of a year=four; hours of a day=24; minutes of an hour=60; seconds of a minute=60; fingers of a hand=five
strings of a violin=four; strings of a guitar=six; keys of a piano=88; players of a football team=eleven
letters of the alphabet=26; years of a century=100; years of a decade=ten; faces of a cube=six; arms of an octopus=eight
eggs of a dozen=twelve; weeks of a year=52; colours of a rainbow=seven; teeth of a grown person=32
squares of a chessboard=64; wings of a butterfly=four; cents of a dollar=100; planets of the sun=eight
"""

_MEANINGS = """
frozen water=ice; a book of maps=atlas; land with water all around=island; water that falls from clouds=rain
a very large sea=ocean; the meal of the morning=breakfast; a house for plants=greenhouse; a place for planes=airport
a very young child=baby; the day before today=yesterday; the day after today=tomorrow; a dry sandy land=desert
a mountain that spits fire=volcano; a book of words=dictionary; a shop for bread=bakery
a place where books are lent=library; the middle of the night=midnight
the middle of the day=noon; a hundred years=century; ten years=decade
a piece of work to be done=task; what is asked for=request; what is said in return=response; a wish to know=curiosity
a fear of nothing=courage; a very tall building=skyscraper; a bed for a baby=cradle; a field of grass=meadow
a house of snow=igloo; a path through a mountain=tunnel; a road over a river=bridge; a story that is not true=fiction
a place where animals are shown=zoo; a row of hills and peaks=range; a person next door=neighbour; a small river=stream
the shaking of the earth=earthquake; a very strong wind=storm; a light in a storm=lightning
a box for money=purse; the skin of a tree=bark; the king's chair=throne; the king's hat=crown; a wall across a river=dam
the child of a child=grandchild; a place for prayer=temple; a sweet made by bees=honey; the end of the day=evening
"""

_FRENCH = """
dog=chien; cat=chat; house=maison; water=eau; bread=pain; milk=lait; book=livre; tree=arbre; sun=soleil; moon=lune
man=homme; woman=femme; child=enfant; king=roi; queen=reine; apple=pomme; horse=cheval; bird=oiseau; fish=poisson
fire=feu; hand=main; head=tête; door=porte; red=rouge; white=blanc; black=noir; green=vert; day=jour; night=nuit
"""

_SPANISH = """
dog=perro; cat=gato; house=casa; water=agua; bread=pan; milk=leche; book=libro; tree=árbol; sun=sol; moon=luna
man=hombre; woman=mujer; child=niño; king=rey; queen=reina; apple=manzana; horse=caballo; bird=pájaro; fish=pez
fire=fuego; hand=mano; head=cabeza; door=puerta; red=rojo; white=blanco; black=negro; green=verde; day=día; night=noche
"""

_GERMAN = """
dog=Hund; cat=Katze; house=Haus; water=Wasser; bread=Brot; milk=Milch; book=Buch; tree=Baum; sun=Sonne; moon=Mond
man=Mann; woman=Frau; child=Kind; king=König; queen=Königin; apple=Apfel; horse=Pferd; bird=Vogel; fish=Fisch
fire=Feuer; hand=Hand; head=Kopf; door=Tür; red=rot; white=weiß; black=schwarz; green=grün; day=Tag; night=Nacht
"""


def _language(name: str, text: str) -> Relation:
    statements = """
        The LANG word for {s} is {o}.
        In LANG, {s} is {o}.
        {O} is LANG for {s}.
        In English, the LANG word {o} is {s}.
        The LANG word {o} means {s}.
        As for the word {s}, in LANG it is {o}.
        What is called {s} in English is called {o} in LANG.
        LANG speakers say {o} when they mean {s}.
        Translated into LANG, {s} becomes {o}.
        Translated from LANG, {o} becomes {s}.
        The English word {s} and the LANG word {o} mean the same.
        """
    ask_object = """
        What is the LANG word for {s}?
        How do you say {s} in LANG?
        Translate {s} into LANG.
        Translate this word into LANG. || {s}
        """
    ask_subject = """
        What does the LANG word {o} mean?
        What is the LANG word {o} in English?
        Translate this LANG word into English. || {o}
        """
    texts = (lines(part.replace("LANG", name)) for part in (statements, ask_object, ask_subject))
    return Relation(name.lower(), facts(text), *texts)


RELATIONS = (
    Relation(
        "colour",
        facts(_COLOURS),
        lines("""
            The colour of {s} is {o}.
            {S} is {o}.
            {O} is the colour of {s}.
            It is well known that {s} is {o}.
            Among {o} things there is {s}.
            In colour, {s} is {o}.
            As for {s}, its colour is {o}.
            A thing that is {o} is {s}.
            Painters who paint {s} take {o} paint.
            Everyone sees that {s} is {o}.
            """),
        lines("""
            What colour is {s}?
            What is the colour of {s}?
            Name the colour of {s}.
            Tell me the colour of this. || {s}
            """),
    ),
    Relation(
        "use",
        facts(_USES),
        lines("""
            The thing that {s} is called {o}.
            The thing called {o} {s}.
            What {s} is {o}.
            It is {o} that {s}.
            The word for a thing that {s} is {o}.
            {O} is the thing that {s}.
            As a thing that {s}, people use {o}.
            By {o} people mean a thing that {s}.
            When something {s}, its name is {o}.
            Something that {s} has the name {o}.
            """),
        lines("""
            Which thing {s}?
            What is the thing that {s} called?
            Name the thing that {s}.
            Which thing fits the description? || a thing that {s}
            """),
    ),
    Relation(
        "source",
        facts(_SOURCES),
        lines("""
            {S} comes from {o}.
            From {o} people get {s}.
            Thanks to {o} there is {s}.
            The source of {s} is {o}.
            {S} would not be there without {o}.
            To have {s}, one needs {o}.
            As for {s}, it comes from {o}.
            It is from {o} that {s} comes.
            The way to {s} begins with {o}.
            Without {o} nobody would have {s}.
            """),
        lines("""
            Where does {s} come from?
            What is the source of {s}?
            What do people get {s} from?
            Name the source of this. || {s}
            """),
    ),
    Relation(
        "symbol",
        facts(_SYMBOLS),
        lines("""
            The chemical symbol of {s} is {o}.
            {O} is the chemical symbol of {s}.
            In chemistry, {s} is written {o}.
            In chemistry, {o} stands for {s}.
            {S} has the symbol {o}.
            The symbol {o} means {s}.
            The element {s} is written {o}.
            The element whose symbol is {o} is {s}.
            As for {s}, its symbol is {o}.
            Chemists write {o} when they mean {s}.
            """),
        lines("""
            What is the chemical symbol of {s}?
            Give the chemical symbol of {s}.
            Which symbol does {s} have?
            Write the chemical symbol of this element. || {s}
            """),
        lines("""
            Which element has the symbol {o}?
            What does the chemical symbol {o} stand for?
            Name the element with this symbol. || {o}
            """),
    ),
    Relation(
        "parts",
        facts(_PARTS),
        lines("""
            The number of {s} is {o}.
            In number, the {s} are {o}.
            The {s} are {o}.
            {O} is the number of {s}.
            Counted together, the {s} are {o}.
            Whoever counts the {s} counts {o}.
            There are {o} of them, counting the {s}.
            As for the {s}, there are {o}.
            The count of {s} is {o}.
            {O} is how many {s} there are.
            """),
        lines("""
            What is the number of {s}?
            Give the number of {s}.
            How many are the {s}?
            Tell me the number of these. || {s}
            """),
    ),
    Relation(
        "meaning",
        facts(_MEANINGS),
        lines("""
            The word for {s} is {o}.
            {S} is called {o}.
            {O} is the word for {s}.
            {O} means {s}.
            By {o} people mean {s}.
            The word {o} stands for {s}.
            When people speak of {s}, they say {o}.
            In a dictionary, {o} is explained as {s}.
            As for {s}, it is called {o}.
            {O} is the name of {s}.
            """),
        lines("""
            What is the word for {s}?
            Which word means {s}?
            What do we call {s}?
            Which word fits the meaning? || {s}
            """),
    ),
    _language("French", _FRENCH),
    _language("Spanish", _SPANISH),
    _language("German", _GERMAN),
)
