"""For each constraint an answer that satisfies it, and near misses with their violations."""

GOOD = {
    "haiku": """1.
Nets like folded hands.
The harbour light turns once more
and finds no one there.

2.
Engines clear their throats.
Six boats draw six silver lines
out into the grey.

3.
Noon. A cat inspects
yesterday's crates, one by one,
and signs for nothing.

4.
Gulls announce the fleet.
On the quay the ice machine
begins its own snow.

5.
Ropes creak and let go
of the day they have been holding.
Someone hums below.""",
    "acrostic": """Long after the last train has gone,
a window keeps its yellow square.
No step yet on the gravel.
The kettle sings, is hushed, and sings.
Every car is yours until it passes.
Rain writes your name and wipes it off.
Nobody waits like this for morning.""",
    "limerick": """An organist living in Ghent
had fingers remarkably bent;
on the pedals below
he employed a spare toe,
and that was the way the hymn went.""",
    "speakers": """LIGHTHOUSE: I turn all night so that they can see you coming.
FOG: And I come all night so that you have something to do.
LIGHTHOUSE: You swallow my beam.
FOG: I wear it. It suits me.
LIGHTHOUSE: There are people out there!
FOG: They slow down for me; for you, they hurry.
LIGHTHOUSE: I have a foundation.
FOG: I have the whole bay.
LIGHTHOUSE: You will be gone by nine.
FOG: And you will be here. I wouldn't boast of it.""",
    "timeline": """1817 – Karl von Drais rides a wooden running machine without pedals.
1839 – A Scottish smith may have built a treadle-driven one, though nobody is sure.
1863 – Pedals appear on the front wheel in Paris.
1870 – James Starley's high wheel makes speed a matter of courage.
1885 – J. K. Starley's Rover gives both wheels the same size and the rear one a chain.
1888 – John Dunlop fills a tyre with air for his son.
1905 – Derailleurs begin to be tried in France.
1977 – In California, riders build the first bicycles meant for mountains.""",
    "fifty-words": """\
A fugue is a conversation on one idea. A voice states a short theme alone; another answers
with it, while the first goes on with something that fits. One by one all voices enter. Then the theme wanders
through keys, is stretched or turned upside-down, and finally comes home together.""",
    "table": """| Myth | Fact |
|---|---|
| Sharks must swim or die. | Many rest on the sea floor and pump water through their gills. |
| All sharks are large. | About half of the species stay below one metre. |
| Sharks never fall ill. | Tumours have been found in many of them. |
| They hunt people. | Most bites are mistakes, and most are not repeated. |
| They are fish of warm seas. | The Greenland shark lives under the ice. |
| They are solitary. | Some travel in schools of hundreds. |""",
    "checklist": """- [x] Boots
- [x] Wool socks
- [x] Trousers
- [x] Rain jacket
- [ ] Sleeping-bag liner
- [ ] Head torch
- [ ] Earplugs
- [ ] Water bottle
- [ ] Cash for the warden""",
    "glossary": """**apron**: the part of the stage in front of the curtain
**aside**: words that only the audience is supposed to hear
**blackout**: a sudden loss of all light on the stage
**cue**: the sign on which an actor or a technician acts
**dry**: to forget one's lines in the middle of a scene
**fly**: to lift scenery out of sight
**gel**: a coloured sheet in front of a lamp
**prompter**: the person who whispers what has been forgotten
**strike**: to take down the set after the last night
**wings**: the hidden space on both sides of the stage""",
    "outline": """1 The valley before
1.1 Voices from the last school class
1.2 The mill, the inn, the two churches
1.3 What the maps called it
2 The decision
2.1 A city is thirsty
2.2 Letters that nobody answered
2.3 The last harvest
3 The water
3.1 Sounds of an empty street
3.2 A bell that people claim to hear
3.3 The dry summer when the roofs came back""",
    "csv": """night,object,seeing,observer
2025-01-03,M42,4,Ines Rahm
2025-01-04,"NGC 2392, Eskimo",3,Ines Rahm
2025-01-09,M81,2,Bo Lind
2025-01-17,Mars,5,Bo Lind
2025-01-18,M1,3,Ada Kerr
2025-01-30,Castor,4,Ada Kerr""",
    "yaml": """```yaml
title: A week under sail
level: beginner
days: 7
price_eur: 640.50
bring:
  - gloves
  - rain jacket
  - sun cream
  - soft bag
```""",
}

# constraint, the text replaced in the good answer, its replacement, and the beginning of the violation
NEARLY = [
    ("haiku", "of the day they have been holding.\n", "", "5. has 2 lines"),
    ("haiku", "3.\n", "4.\n", "number 4. instead of 3."),
    ("haiku", "1.\nNets", "A day in five poems\n1.\nNets", "text before 1.: 'A day in five poems'"),
    ("haiku", "Gulls announce the fleet.", "When the gulls come in they all shout at once.", "4. has a line of more"),
    ("acrostic", "Rain writes", "The rain writes", "the lines begin with 'LANTETN'"),
    ("acrostic", "Long after", "Waiting\nLong after", "the lines begin with 'WLANTERN'"),
    ("limerick", "he employed a spare toe,", "he employed a long and quite spare toe,", "the lines have"),
    ("limerick", "An organist", "A limerick\nAn organist", "6 lines, not 5"),
    ("speakers", "FOG: I have the whole bay.", "LIGHTHOUSE: And a lamp.", "line 8 does not begin with FOG:"),
    ("speakers", "\nFOG: And you will be here. I wouldn't boast of it.", "", "9 lines, not 10"),
    ("speakers", "FOG: I wear it. It suits me.", "FOG:", "line 4 does not begin with FOG: followed by text"),
    ("timeline", "1870", "1862", "the years do not ascend"),
    ("timeline", "in Paris.", "in Paris. It hurts.", "1863 has more than one sentence"),
    ("timeline", "1905 –", "In 1905,", "'In 1905, Derailleurs"),
    ("fifty-words", "comes home together", "comes home", "49 words, not 50"),
    ("table", "| Myth | Fact |", "| Myth | Fact | Source |", "the columns are [['Myth', 'Fact', 'Source']]"),
    ("table", "| Myth | Fact |", "Here you are:\n\n| Myth | Fact |", "a line outside the table"),
    ("table", "|---|---|\n", "", "no delimiter row below the header"),
    ("table", "| They are solitary. | Some travel in schools of hundreds. |", "", "5 rows, not 6"),
    ("table", "Some travel in schools of hundreds.", "", "a row does not have two non-empty cells"),
    ("checklist", "- [ ] Earplugs", "- [x] Earplugs", "5 boxes are ticked, not 4"),
    ("checklist", "- [ ] Earplugs\n", "", "8 boxes, not 9"),
    ("checklist", "- [ ] Earplugs", "- Earplugs", "a line is not"),
    ("glossary", "**cue**", "**zoom**", "the words are not sorted"),
    ("glossary", "**cue**:", "**cue:**", "'**cue:** the sign"),
    ("glossary", "a coloured sheet in front of a lamp", "a sheet " * 8, "the definition of gel has 16 words"),
    ("outline", "2.3 The last harvest\n", "", "the lines are 1 1.1 1.2 1.3 2 2.1 2.2 3"),
    ("outline", "1 The valley", "Outline\n1 The valley", "the lines are - 1"),
    ("csv", "2025-01-09", "2025-02-30", "'2025-02-30' is not a date"),
    ("csv", "2025-01-03", "2025-01-10", "the nights are not in order"),
    ("csv", "Mars,5,", "Mars,6,", "'6' is not a seeing from 1 to 5"),
    ("csv", "night,object", "date,object", "the header is [['date'"),
    ("csv", "Castor,4,Ada Kerr", "Castor,4", "['2025-01-30', 'Castor', '4'] does not have four"),
    ("yaml", "days: 7", "days: seven", "days is not a number: 'seven'"),
    ("yaml", "level: beginner\n", "", "the keys are ['title', 'days'"),
    ("yaml", "  - soft bag\n", "", "3 items to bring, not 4"),
    ("yaml", "level: beginner\n", "level: [beginner\n", "not valid YAML"),
    ("yaml", "```yaml\n", "Here is the course:\n```yaml\n", "the answer is not one YAML code block"),
]
