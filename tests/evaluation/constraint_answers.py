"""Answers to the shipped prompts that prescribe a form: one that keeps it, near misses, and edits with the verdict."""

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

# the form of a prompt, the text replaced in the good answer, its replacement, and the beginning of the violation
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
    ("timeline", "in Paris.", "in Paris. It hurts.", "line 3: 2 sentences, not 1"),
    ("timeline", "1905 –", "In 1905,", "'In 1905, Derailleurs"),
    ("fifty-words", "comes home together", "comes home", "49 words, not 50"),
    ("table", "| Myth | Fact |", "| Myth | Fact | Source |", "the response is not one table and nothing else"),
    ("table", "| Myth | Fact |", "Here you are:\n\n| Myth | Fact |", "the response is not one table and nothing else"),
    ("table", "|---|---|\n", "", "the response is not one table and nothing else"),
    ("table", "| They are solitary. | Some travel in schools of hundreds. |", "", "5 rows, not 6"),
    ("table", "Some travel in schools of hundreds.", "", "a row does not have 2 non-empty cells"),
    ("checklist", "- [ ] Earplugs", "- [x] Earplugs", "5 boxes are ticked, not 4"),
    ("checklist", "- [ ] Earplugs\n", "", "8 boxes, not 9"),
    ("checklist", "- [ ] Earplugs", "- Earplugs", "a line is not"),
    ("glossary", "**cue**", "**zoom**", "the words are not sorted"),
    ("glossary", "**cue**:", "**cue:**", "'**cue:** the sign"),
    ("glossary", "a coloured sheet in front of a lamp", "a sheet " * 8, "the definition of gel has 16 words"),
    ("outline", "2.3 The last harvest\n", "", "the lines are 1 1.1 1.2 1.3 2 2.1 2.2 3"),
    ("outline", "1 The valley", "Outline\n1 The valley", "the lines are - 1"),
    ("csv", "2025-01-09", "2025-02-30", "'2025-02-30' is not a date"),
    ("csv", "2025-01-03", "2025-01-10", "the column night is not in order"),
    ("csv", "Mars,5,", "Mars,6,", "'6' is not a seeing from 1 to 5"),
    ("csv", "night,object", "date,object", "the header is [['date'"),
    ("csv", "Castor,4,Ada Kerr", "Castor,4", "['2025-01-30', 'Castor', '4'] does not have 4 non-empty"),
    ("yaml", "days: 7", "days: seven", "days is not a number: 'seven'"),
    ("yaml", "level: beginner\n", "", "the keys are ['title', 'days'"),
    ("yaml", "  - soft bag\n", "", "bring has 3 items, not 4"),
    ("yaml", "level: beginner\n", "level: [beginner\n", "not valid YAML"),
    ("yaml", "```yaml\n", "Here is the course:\n```yaml\n", "the response is not one code block and nothing else"),
]

# the form, the text replaced in the good answer, its replacement, and whether the answer still keeps the form
EDITS = [
    ("haiku", "1.\nNets like", "1. Nets like", True),
    ("haiku", "1.\nNets", "1)\nNets", False),
    ("haiku", "5.\nRopes", "5.\n\nRopes", True),
    ("haiku", "5.\nRopes", "**5.**\nRopes", True),
    ("haiku", "Someone hums below.", "Someone hums below.\n\n6.\nOne\ntwo\nthree", False),
    ("haiku", "Someone hums below.", "Someone hums below.\nThe end.", False),
    ("haiku", "Six boats draw six silver lines", "Six boats draw six silver lines today", True),
    ("haiku", "Six boats draw six silver lines", "Six boats draw six silver lines today now", False),
    ("haiku", "1.\nNets", "01.\nNets", True),
    ("haiku", "1.\nNets", "# Harbour\n1.\nNets", False),
    ("haiku", "2.\nEngines", "22.\nEngines", False),
    ("acrostic", "Long after", "“Long after", True),
    ("acrostic", "Long after", "1. Long after", False),
    ("acrostic", "a window", "A window", True),
    ("acrostic", "No step yet", "  *No* step yet", True),
    ("acrostic", "Every car", "Évery car", False),
    ("acrostic", "Nobody waits like this for morning.", "Nobody waits.\n—", True),
    ("acrostic", "Nobody waits", "nobody waits", True),
    ("limerick", "he employed a spare toe,", "he employed a very spare toe", False),
    ("limerick", "he employed a spare toe,", "he employed a spare toe, the old man", False),
    ("limerick", "on the pedals below", "he played", True),
    ("limerick", "An organist living in Ghent", "An organist", False),
    ("limerick", "\non the pedals", "\n\non the pedals", True),
    ("speakers", "LIGHTHOUSE: You swallow my beam.", "Lighthouse: You swallow my beam.", False),
    ("speakers", "LIGHTHOUSE: You swallow my beam.", "LIGHTHOUSE : You swallow my beam.", False),
    ("speakers", "FOG: I wear it. It suits me.", "FOG:I wear it.", True),
    ("speakers", "FOG: I wear it. It suits me.", "- FOG: I wear it.", False),
    ("speakers", "FOG: I wear it. It suits me.", "**FOG**: I wear it.", True),
    ("speakers", "FOG: And you will be here. I wouldn't boast of it.", "FOG: And you.\nLIGHTHOUSE: What?", False),
    ("speakers", "LIGHTHOUSE: I turn", "FOG: Hm.\nLIGHTHOUSE: I turn", False),
    ("timeline", "1817 –", "1817:", False),
    ("timeline", "1817 –", "1817-", True),
    ("timeline", "1817 –", "**1817** —", True),
    ("timeline", "1817 –", "- 1817 –", False),
    ("timeline", "1817 –", "817 –", True),
    ("timeline", "1817 –", "17 –", False),
    ("timeline", "1817 –", "01817 –", False),
    ("timeline", "1839", "1817", False),
    ("timeline", "for his son.", "for his son", False),
    ("timeline", "for his son.", "for his son!", True),
    ("timeline", "for his son.", "for his son (born 1877).", True),
    ("timeline", "for his son.", "for Mr. Smith.", True),
    ("timeline", "for his son.", "for J. Smith.", True),
    ("timeline", "for his son.", "for Dr. Smith, e.g. Adam.", False),
    ("timeline", "for his son.", "for his son? Yes.", False),
    ("timeline", "1977 – In California", "1977 – .\n1978 – In California", False),
    ("timeline", "1977 – In California, riders build the first bicycles meant for mountains.", "1977 – .", False),
    ("timeline", "1977 – In California, riders build the first bicycles meant for mountains.", "1977 – A.", True),
    ("timeline", "1977 – In", "1977 – – In", True),
    ("timeline", "1977 – In California, riders build", "1977 – In California, 1\u2028riders build", False),
    ("fifty-words", "finally comes", "finally — comes", True),
    ("fifty-words", "finally comes", "finally, comes", True),
    ("fifty-words", "finally comes", "finally – at last – comes", False),
    ("fifty-words", "upside-down", "upside down", False),
    ("fifty-words", "A fugue", "**A** fugue", True),
    ("fifty-words", "One by one", "One - by one", True),
    ("fifty-words", "One by one", "One by one, 2", False),
    ("fifty-words", "keys, is", "keys,is", False),
    ("table", "| Myth | Fact |", "|Myth|Fact|", True),
    ("table", "| Myth | Fact |", "Myth | Fact", True),
    ("table", "|---|---|", "| :--- | ---: |", True),
    ("table", "|---|---|", "|---|", False),
    ("table", "|---|---|", "|---|---|---|", False),
    ("table", "|---|---|", "|===|===|", False),
    ("table", "| Myth | Fact |", "| myth | fact |", False),
    ("table", "| Myth | Fact |", "| Myth | Fact |\n| Myth | Fact |", False),
    ("table", "| They are solitary. |", "| They are \\| solitary. |", True),
    ("table", "| They are solitary. |", "| They are | solitary. |", False),
    ("table", "| They are solitary. |", "| |", False),
    ("table", "in schools of hundreds. |", "in schools of hundreds. |\n\nSource: the sea.", False),
    ("table", "in schools of hundreds. |", "in schools of hundreds. |\n\nSource | the sea.", False),
    ("table", "| Myth | Fact |", "| Fact | Myth |", False),
    ("table", "| They are solitary. |", "|---|---|\n| They are solitary. |", False),
    ("table", "| Sharks never fall ill. |", "\n| Sharks never fall ill. |", True),
    ("table", "| Myth | Fact |", "```\n| Myth | Fact |", False),
    ("checklist", "- [x] Boots", "- [X] Boots", True),
    ("checklist", "- [x] Boots", "* [x] Boots", False),
    ("checklist", "- [x] Boots", "- [x]Boots", False),
    ("checklist", "- [x] Boots", "- [x]  Boots", False),
    ("checklist", "- [x] Boots", "- [] Boots", False),
    ("checklist", "- [x] Boots", "**Wear**\n- [x] Boots", False),
    ("checklist", "- [x] Boots", "  - [x] Boots", True),
    ("checklist", "- [x] Boots", "- [x] **Boots**", True),
    ("checklist", "- [x] Boots", "- [ ] Boots", False),
    ("glossary", "**cue**: the", "**cue** : the", False),
    ("glossary", "**cue**: the", "**cue**:the", False),
    ("glossary", "**cue**: the", "- **cue**: the", False),
    ("glossary", "**cue**", "**Cue**", True),
    ("glossary", "**cue**", "**dry**", False),
    ("glossary", "**apron**", "**Words**\n\n**apron**", False),
    (
        "glossary",
        "a coloured sheet in front of a lamp",
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
        True,
    ),
    ("glossary", "**cue**", "**c*ue**", False),
    ("glossary", "**dry**", "**d r y**", True),
    ("outline", "1 The valley", "1. The valley", True),
    ("outline", "1 The valley", "# 1 The valley", True),
    ("outline", "1 The valley", "**1 The valley**", True),
    ("outline", "1.1 Voices", "- 1.1 Voices", False),
    ("outline", "1.1 Voices", "1.1. Voices", True),
    ("outline", "1.1 Voices", "1.1 ", True),
    ("outline", "1.1 Voices", "1.1) Voices", False),
    ("outline", "3.3 The dry", "3.3 The end.\n4 The dry", False),
    ("outline", "3.3 The dry", "3.3 The end.\nThe dry", False),
    ("outline", "1.1 Voices", "10 Voices", False),
    ("outline", "1.1 Voices", "1.1.1 Voices", False),
    ("outline", "1.1 Voices", "1.11 Voices", False),
    ("csv", "Castor,4,Ada Kerr", "Castor, 4 ,Ada Kerr", True),
    ("csv", "Castor,4,Ada Kerr", "Castor,4.0,Ada Kerr", False),
    ("csv", "Castor,4,Ada Kerr", "Castor,04,Ada Kerr", False),
    ("csv", "Castor,4,Ada Kerr", "Castor,0,Ada Kerr", False),
    ("csv", "Castor,4,Ada Kerr", "Castor,4, ", False),
    ("csv", "2025-01-30", "2025-1-30", False),
    ("csv", "2025-01-30", " 2025-01-30", False),
    ("csv", "2025-01-30", "2025-01-18", True),
    ("csv", "night,object", "Night,object", False),
    ("csv", "night,object", "night, object", False),
    ("csv", "2025-01-30", "\n2025-01-30", False),
    ("csv", "Castor,4,Ada Kerr", '"Castor","4","Ada Kerr"', True),
    ("csv", "Castor,4,Ada Kerr", "Castor,4,Ada Kerr,x", False),
    ("csv", "night,object", "Here:\nnight,object", False),
    ("csv", "Castor,4,Ada Kerr", '"Castor,4,Ada Kerr', False),
    ("csv", "2025-01-30", "20250130", False),
    ("yaml", "```yaml", "```yml", True),
    ("yaml", "```yaml", "```", True),
    ("yaml", "```yaml", "```YAML", True),
    ("yaml", "```yaml", "```json", False),
    ("yaml", "days: 7", "days: true", False),
    ("yaml", "days: 7", "days: 7.5", True),
    ("yaml", "days: 7", 'days: "7"', False),
    ("yaml", "days: 7", "days: .nan", True),
    ("yaml", "days: 7", "days: 0x10", True),
    ("yaml", "price_eur: 640.50", "price_eur: 1e3", True),
    ("yaml", "  - soft bag", "  - [soft, bag]", True),
    ("yaml", "  - soft bag", "  - soft: bag", True),
    ("yaml", "  - soft bag", "  -", True),
    ("yaml", "level: beginner\n", "level:\n", True),
    ("yaml", "level: beginner\ndays: 7", "days: 7\nlevel: beginner", False),
    ("yaml", "days: 7", "days: 7\ndays: 8", False),
    ("yaml", "title: A", "# a course\ntitle: A", True),
    ("yaml", "title: A", "---\ntitle: A", True),
    ("yaml", "title: A week", "title: !!python/object:os.system A week", False),
    ("yaml", "title: A week", "title: &a A week", True),
    ("yaml", "  - soft bag\n```", "  - soft bag\n```\nEnjoy!", False),
    ("yaml", "level: beginner", "level: beginner\ncolour: red", False),
    ("yaml", "level: beginner", 'level: "beg: inner"', True),
    ("yaml", "level: beginner", "level: beg: inner", False),
]
