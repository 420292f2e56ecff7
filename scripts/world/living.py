"""Animals and people: sounds, homes, young, groups, work, and what kind of thing a word names."""

from __future__ import annotations

from world.relation import Relation, facts, lines

_SOUNDS = """
dog=barks; cat=meows; cow=moos; duck=quacks; lion=roars; sheep=bleats; horse=neighs; pig=oinks; snake=hisses
bee=buzzes; wolf=howls; owl=hoots; frog=croaks; donkey=brays; mouse=squeaks; rooster=crows; pigeon=coos; bird=chirps
elephant=trumpets; turkey=gobbles; hen=clucks
"""

_HOMES = """
bee=hive; bird=nest; dog=kennel; horse=stable; pig=sty; rabbit=burrow; lion=den; spider=web; hen=coop; beaver=lodge
squirrel=drey; sheep=fold; monk=monastery; king=palace; snail=shell; cow=barn; fish=pond; hare=form; badger=sett
soldier=barracks; prisoner=cell; eagle=eyrie
"""

_YOUNG = """
dog=puppy; cat=kitten; cow=calf; horse=foal; sheep=lamb; goat=kid; pig=piglet; duck=duckling; goose=gosling; hen=chick
lion=cub; deer=fawn; swan=cygnet; frog=tadpole; owl=owlet; kangaroo=joey; seal=pup; eagle=eaglet; hare=leveret
butterfly=caterpillar; human=baby; pigeon=squab; eel=elver; rabbit=bunny
"""

_GROUPS = """
sheep=flock; wolves=pack; lions=pride; fish=school; bees=swarm; cows=herd; ants=colony; ships=fleet; singers=choir
sailors=crew; players=team; flowers=bunch; cards=deck; stars=galaxy; musicians=band; thieves=gang; soldiers=army
pupils=class; trees=forest; islands=chain; stairs=flight; puppies=litter; crows=murder; geese=gaggle; bananas=hand
"""

_WORK = """
bakes bread=baker; teaches pupils=teacher; heals sick people=doctor; catches fish=fisherman; flies a plane=pilot
grows crops=farmer; puts out fires=firefighter; cuts hair=barber; builds with bricks=mason; writes books=author
paints pictures=painter; sells meat=butcher; mends shoes=cobbler; makes clothes=tailor; cares for teeth=dentist
treats sick animals=vet; delivers letters=postman; serves food at tables=waiter; works with wood=carpenter
digs for coal=miner; sails the sea=sailor; plays music=musician; acts on a stage=actor; judges in a court=judge
cooks in a restaurant=chef; repairs pipes=plumber; designs buildings=architect; studies the stars=astronomer
takes photographs=photographer; looks after books=librarian; guards sheep=shepherd; makes things of iron=blacksmith
writes poems=poet; rules a kingdom=king; travels into space=astronaut; keeps bees=beekeeper; drives a taxi=driver
reports the news=journalist; sells flowers=florist; speaks for people in court=lawyer; draws maps=cartographer
works with electric wires=electrician; dances on stage=dancer; sings songs=singer; steals things=thief
hunts animals=hunter; leads a school=principal; swims in races=swimmer; makes pots of clay=potter; sells drugs=chemist
"""

_KINDS = {
    "animal": "dog cat horse cow sheep goat lion tiger elephant rabbit mouse monkey camel giraffe zebra",
    "bird": "eagle owl sparrow pigeon parrot swan crow penguin ostrich robin",
    "insect": "ant bee fly moth beetle mosquito butterfly",
    "fish": "salmon trout shark herring tuna cod",
    "fruit": "apple banana pear grape cherry peach plum mango lemon orange",
    "vegetable": "carrot onion cabbage potato spinach turnip leek radish",
    "tool": "hammer saw drill wrench screwdriver spade rake chisel",
    "vehicle": "car bus truck tram bicycle van taxi",
    "flower": "rose tulip daisy lily violet sunflower",
    "tree": "oak pine birch willow maple palm",
    "metal": "iron gold silver copper lead tin zinc",
    "colour": "red blue green yellow purple brown",
    "instrument": "piano violin guitar flute trumpet drum harp",
    "garment": "shirt coat skirt jacket sweater dress",
    "dish": "soup pizza stew salad omelette",
    "drink": "tea coffee juice lemonade cocoa",
    "sport": "football tennis hockey golf swimming rugby",
    "planet": "Mars Venus Jupiter Saturn Mercury Neptune Uranus",
    "building": "church castle school hotel factory hospital",
    "gem": "ruby diamond emerald sapphire pearl",
    "piece of furniture": "table chair bed sofa desk wardrobe",
}

RELATIONS = (
    Relation(
        "sound",
        facts(_SOUNDS),
        lines("""
            {A_s} {o}.
            The {s} {o} to make itself heard.
            The animal that {o} is the {s}.
            When one hears that an animal {o}, it is {a_s}.
            In the yard {a_s} {o}.
            Out there {a_s} {o} loudly.
            As for the {s}, it {o}.
            It is the {s} that {o}.
            One can hear how the {s} {o}.
            Of the sound of {a_s} people say that it {o}.
            Whatever {o} like this must be {a_s}.
            """),
        lines("""
            What does {a_s} do to make itself heard?
            What sound does {a_s} make?
            Say what {a_s} does when it makes its sound.
            Which word tells the sound of this animal? || {s}
            """),
        lines("""
            Which animal {o}?
            Name the animal that {o}.
            """),
    ),
    Relation(
        "home",
        facts(_HOMES),
        lines("""
            The home of {a_s} is called {a_o}.
            {A_s} lives in {a_o}.
            {A_o} is the home of {a_s}.
            {A_o} is where {a_s} lives.
            The {s} goes home to its {o}.
            In {a_o} lives {a_s}.
            The {o} is made for the {s}.
            As for the {s}, its home is the {o}.
            Where there is {a_o}, {a_s} has its home.
            The place where {a_s} lives is {a_o}.
            """),
        lines("""
            What is the home of {a_s} called?
            Where does {a_s} live?
            Name the home of {a_s}.
            Give the word for the home of this creature. || {s}
            """),
        lines("""
            Who lives in {a_o}?
            Which creature has {a_o} as its home?
            """),
    ),
    Relation(
        "young",
        facts(_YOUNG),
        lines("""
            A young {s} is called {a_o}.
            {A_o} is a young {s}.
            The young of the {s} is the {o}.
            Every {s} was once {a_o}.
            {A_o} grows up to be {a_s}.
            When it is young, {a_s} is called {a_o}.
            The {s} has a young one, the {o}.
            As for the {s}, its young is {a_o}.
            A little {s} is {a_o}.
            The {o} will one day be {a_s}.
            The parent of {a_o} is {a_s}.
            """),
        lines("""
            What is a young {s} called?
            Name the young of {a_s}.
            What do we call a young {s}?
            Give the word for the young of this creature. || {s}
            """),
        lines("""
            What does {a_o} grow up to be?
            What will {a_o} be when it is grown?
            """),
    ),
    Relation(
        "group",
        facts(_GROUPS),
        lines("""
            A group of {s} is called {a_o}.
            {A_o} of {s} is a group of them.
            Many {s} together make {a_o}.
            {S} come in {a_o}.
            When there are many {s}, it is {a_o} of {s}.
            People speak of {a_o} of {s}.
            The word for many {s} together is {o}.
            As for {s}, a group of them is {a_o}.
            {A_o} is made up of {s}.
            {S} together form {a_o}.
            """),
        lines("""
            What is a group of {s} called?
            What do many {s} together make?
            Name the word for a group of {s}.
            Which word names a group of these? || {s}
            """),
    ),
    Relation(
        "work",
        facts(_WORK),
        lines("""
            {A_o} {s}.
            A person who {s} is {a_o}.
            Someone who {s} is called {a_o}.
            {A_o} is a person who {s}.
            The {o} {s} every day.
            One who {s} works as {a_o}.
            The word for a person who {s} is {o}.
            Whoever {s} is {a_o}.
            {A_o} is someone who {s}.
            The work of {a_o} is known: such a person {s}.
            """),
        lines("""
            What do we call a person who {s}?
            Who {s}?
            Name the person who {s}.
            What is someone who {s} called?
            Which word fits the description? || a person who {s}
            """),
    ),
    Relation(
        "kind",
        tuple((word, kind) for kind, text in _KINDS.items() for word in text.split()),
        lines("""
            The word {s} names {a_o}.
            {S} is the name of {a_o}.
            {S} belongs to the class of {o}.
            One example of {a_o} is {s}.
            The class of {s} is {o}.
            As for {s}, it is counted as {a_o}.
            By {s} people mean {a_o}.
            {A_o} can be {s}.
            What is called {s} is {a_o}.
            In a list under the heading {o} stands {s}.
            """),
        lines("""
            What kind of thing is {s}?
            Which class does {s} belong to?
            Name the class of {s}.
            What does the word {s} name?
            Classify this word. || {s}
            """),
    ),
)
