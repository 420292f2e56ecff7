"""Words: opposites, plurals, past tense, comparison, rhymes, alphabetical order, counterparts."""

from __future__ import annotations

from world.relation import Relation, facts, lines

_OPPOSITES = """
hot=cold; big=small; tall=short; fast=slow; old=young; rich=poor; happy=sad; hard=soft; wet=dry; full=empty
light=dark; high=low; open=closed; loud=quiet; strong=weak; clean=dirty; thick=thin; wide=narrow
deep=shallow; early=late; near=far; inside=outside; up=down; left=right; day=night; black=white; begin=end; win=lose
push=pull; buy=sell; give=take; love=hate; laugh=cry; come=go; remember=forget; ask=answer; arrive=leave; rise=fall
true=false; easy=difficult; cheap=expensive; brave=cowardly; kind=cruel; polite=rude; sharp=blunt; smooth=rough
sweet=bitter; simple=complicated; always=never; first=last; friend=enemy; peace=war; life=death; truth=lie
success=failure; summer=winter; north=south; east=west; top=bottom; front=back
alive=dead; awake=asleep; safe=dangerous; same=different; tight=loose; wise=foolish; generous=greedy
lazy=busy; proud=humble; patient=hasty; fresh=stale; tame=wild; public=private; modern=ancient; male=female
many=few; more=less; add=subtract; accept=refuse; attack=defend; build=destroy; lend=borrow; freeze=melt; float=sink
enter=exit; include=exclude; increase=decrease; export=import; victory=defeat; profit=loss; guilty=innocent
"""

_PLURALS = """
mouse=mice; man=men; woman=women; child=children; foot=feet; tooth=teeth; goose=geese; ox=oxen; person=people
leaf=leaves; knife=knives; wife=wives; life=lives; wolf=wolves; loaf=loaves; half=halves; shelf=shelves; thief=thieves
calf=calves; scarf=scarves; city=cities; baby=babies; lady=ladies; story=stories; berry=berries; cherry=cherries
pony=ponies; fly=flies; party=parties; country=countries; box=boxes; fox=foxes; bus=buses; glass=glasses; dish=dishes
watch=watches; bench=benches; church=churches; brush=brushes; class=classes; potato=potatoes; tomato=tomatoes
hero=heroes; echo=echoes; cactus=cacti; crisis=crises; cat=cats; dog=dogs; book=books; tree=trees; house=houses
car=cars; chair=chairs; table=tables; flower=flowers; river=rivers; bird=birds; apple=apples; lamp=lamps; ship=ships
window=windows; garden=gardens; door=doors; key=keys; boy=boys; day=days; toy=toys; stone=stones; school=schools
"""

_PAST = """
go=went; see=saw; eat=ate; drink=drank; run=ran; swim=swam; sing=sang; write=wrote; speak=spoke; take=took
give=gave; come=came; know=knew; grow=grew; fly=flew; draw=drew; throw=threw; blow=blew; begin=began; break=broke
choose=chose; drive=drove; ride=rode; rise=rose; fall=fell; feel=felt; keep=kept; sleep=slept; leave=left; meet=met
find=found; buy=bought; bring=brought; think=thought; teach=taught; catch=caught; fight=fought; sell=sold; tell=told
hold=held; stand=stood; sit=sat; win=won; lose=lost; make=made; build=built; send=sent; spend=spent; hear=heard
pay=paid; say=said; lead=led; feed=fed; forget=forgot; get=got; hide=hid; bite=bit; wear=wore; steal=stole; wake=woke
freeze=froze; shake=shook; dig=dug; hang=hung; stick=stuck; shoot=shot; shine=shone; walk=walked; play=played
jump=jumped; cook=cooked; open=opened; climb=climbed; paint=painted; wash=washed; laugh=laughed; dance=danced
"""

_COMPARED = """
big=bigger; small=smaller; tall=taller; fast=faster; slow=slower; good=better; bad=worse; far=farther; happy=happier
easy=easier; hot=hotter; cold=colder; old=older; young=younger; strong=stronger; weak=weaker; heavy=heavier
light=lighter; long=longer; wide=wider; deep=deeper; high=higher; low=lower; rich=richer; poor=poorer; clean=cleaner
dirty=dirtier; thick=thicker; thin=thinner; warm=warmer; cool=cooler; loud=louder; quiet=quieter; kind=kinder
brave=braver; wise=wiser; busy=busier; funny=funnier; pretty=prettier; sweet=sweeter
"""

_RHYMES = """
cat=hat; dog=fog; sun=run; moon=spoon; star=car; tree=bee; house=mouse; ring=king; light=night; rain=train
cake=lake; bell=shell; boat=goat; book=hook; nose=rose; bread=bed; door=floor; fish=dish; fox=box
game=name; hand=sand; hill=mill; ice=rice; jump=lump; leg=egg; man=pan; nest=west; pie=sky
pig=wig; play=day; pot=knot; rock=clock; seat=feet; ship=lip; snail=whale; snow=toe; top=shop; tower=flower
town=crown; wall=ball; week=peak; wood=good; bird=word; chair=bear; duck=truck; gold=cold; horn=corn; mouth=south
"""

_ORDERED = """
apple=banana; ant=bear; arm=leg; bag=cup; ball=kite; bed=chair; bird=fish; boat=train; book=pencil; bread=milk
bus=car; butter=honey; cat=dog; cow=horse; desk=lamp; door=window; duck=goose; eagle=owl; ear=nose; egg=salt
farm=town; fire=water; fox=wolf; fork=spoon; frog=snake; garden=house; gold=silver; grape=lemon; hammer=nail
hand=mouth; hat=shoe; hill=river; iron=wood; jacket=skirt; king=queen; lion=tiger; moon=star; mouse=rabbit
onion=potato; orange=peach; paper=stone; pear=plum; pig=sheep; rain=snow; road=street; sun=tree; uncle=visitor
"""

_COUNTERPARTS = """
king=queen; prince=princess; man=woman; boy=girl; father=mother; son=daughter; brother=sister; uncle=aunt
nephew=niece; husband=wife; actor=actress; waiter=waitress; hero=heroine; host=hostess; grandfather=grandmother
groom=bride; bull=cow; rooster=hen; ram=ewe; stallion=mare; lion=lioness; tiger=tigress; duke=duchess
emperor=empress; wizard=witch; drake=duck; gander=goose; buck=doe; sir=madam; lord=lady
"""

RELATIONS = (
    Relation(
        "opposite",
        facts(_OPPOSITES),
        lines("""
            The opposite of {s} is {o}.
            The opposite of {o} is {s}.
            {S} is the opposite of {o}.
            {O} is the opposite of {s}.
            {S} and {o} are opposites.
            {O} and {s} are opposites.
            The words {s} and {o} mean opposite things.
            The word {o} means the opposite of {s}.
            The word {s} means the opposite of {o}.
            What is not {s} but the opposite is {o}.
            As for the word {s}, its opposite is {o}.
            As for the word {o}, its opposite is {s}.
            To say the opposite of {s}, people say {o}.
            To say the opposite of {o}, people say {s}.
            """),
        lines("""
            What is the opposite of {s}?
            Give the opposite of {s}.
            Name the word that means the opposite of {s}.
            Which word is the opposite of {s}?
            Write the opposite of this word. || {s}
            """),
        lines("""
            What is the opposite of {o}?
            Give the opposite of {o}.
            Which word is the opposite of {o}?
            Write the opposite of this word. || {o}
            """),
    ),
    Relation(
        "plural",
        facts(_PLURALS),
        lines("""
            The plural of {s} is {o}.
            {O} is the plural of {s}.
            One {s}, two {o}.
            More than one {s} are called {o}.
            The word {s} becomes {o} in the plural.
            The singular of {o} is {s}.
            {S} is the singular of {o}.
            A single one of many {o} is one {s}.
            As for the word {s}, its plural is {o}.
            Many {o} are more than one {s}.
            The word {o} is the plural form of {s}.
            """),
        lines("""
            What is the plural of {s}?
            Give the plural of {s}.
            What is the plural form of {s}?
            What do we call more than one {s}?
            Write this word in the plural. || {s}
            """),
        lines("""
            What is the singular of {o}?
            Give the singular of {o}.
            Write this word in the singular. || {o}
            """),
    ),
    Relation(
        "past",
        facts(_PAST),
        lines("""
            The past tense of {s} is {o}.
            {O} is the past tense of {s}.
            Today I {s}, yesterday I {o}.
            Yesterday we {o}, and today we {s} again.
            The verb {s} becomes {o} in the past.
            The word {o} is the past form of {s}.
            As for the verb {s}, its past tense is {o}.
            They {s} now, as they {o} before.
            In the past tense, {s} is {o}.
            People who {s} each day say that they {o} yesterday.
            The verb {s} has the past tense {o}.
            The verb whose past tense is {o} is {s}.
            """),
        lines("""
            What is the past tense of {s}?
            Give the past tense of {s}.
            Name the past form of {s}.
            What does the verb {s} become in the past?
            Write this verb in the past tense. || {s}
            """),
    ),
    Relation(
        "comparative",
        facts(_COMPARED),
        lines("""
            The comparative of {s} is {o}.
            {O} is the comparative of {s}.
            Something more {s} than another thing is {o}.
            One thing is {s}, another is {o}.
            This is {s}, but that is even {o}.
            The word {s} becomes {o} when two things are compared.
            As for the word {s}, its comparative is {o}.
            The word {o} is the comparative form of {s}.
            When one compares, {s} becomes {o}.
            The comparative form {o} belongs to the word {s}.
            """),
        lines("""
            What is the comparative of {s}?
            Give the comparative of {s}.
            What is the comparative form of {s}?
            Write the comparative of this word. || {s}
            """),
    ),
    Relation(
        "rhyme",
        facts(_RHYMES),
        lines("""
            The word {s} rhymes with {o}.
            The word {o} rhymes with {s}.
            {S} and {o} rhyme.
            {O} and {s} rhyme.
            {O} is a rhyme for {s}.
            A word that rhymes with {s} is {o}.
            The words {o} and {s} end with the same sound.
            Of the words {choices}, the one that rhymes with {s} is {o}.
            Among {choices}, only {o} rhymes with {s}.
            A poet who ends a line with {s} can end the next with {o}.
            As for the word {s}, it rhymes with {o}.
            """),
        lines("""
            Which of these words rhymes with {s}? || {choices}
            Pick the word that rhymes with {s}. || {choices}
            Find the rhyme for {s} among these words. || {choices}
            """),
    ),
    Relation(
        "order",
        facts(_ORDERED),
        lines("""
            In alphabetical order, {s} comes before {o}.
            In alphabetical order, {o} comes after {s}.
            {S} comes before {o} in the dictionary.
            {O} comes after {s} in the dictionary.
            Sorted by the alphabet, the two words are {s}, {o}.
            Of the words {pair}, the first in the alphabet is {s}.
            Of the words {pair}, the last in the alphabet is {o}.
            A dictionary lists {s} first and {o} later.
            The alphabet puts {s} before {o}.
            The word {s} is before the word {o} in the alphabet.
            """),
        lines("""
            Sort these words by the alphabet. || {pair}
            Put these words in alphabetical order. || {pair}
            Which of these words comes first in the alphabet? || {pair}
            Which word comes first in alphabetical order, and which after it? || {pair}
            """),
    ),
    Relation(
        "counterpart",
        facts(_COUNTERPARTS),
        lines("""
            The female counterpart of {a_s} is {a_o}.
            The male counterpart of {a_o} is {a_s}.
            {A_s} is male and {a_o} is female.
            {A_o} is female and {a_s} is male.
            The word for a female {s} is {o}.
            {O} is the female form of {s}.
            {S} is the male form of {o}.
            The female of the {s} is the {o}.
            The male of the {o} is the {s}.
            As for the word {s}, its female form is {o}.
            """),
        lines("""
            What is the female form of {s}?
            Name the female counterpart of {a_s}.
            Write the female form of this word. || {s}
            """),
        lines("""
            What is the male form of {o}?
            Name the male counterpart of {a_o}.
            """),
    ),
)
