"""For each kind of constraint: arguments, responses that satisfy it, and others with their violations."""

ENGLISH = "The tide comes in twice a day, and the boats wait for it in the harbour without any hurry."
GERMAN = "Die Flut kommt zweimal am Tag, und die Boote warten ohne jede Eile im Hafen auf sie."
TABLE = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
CSV = "day,grade\n2024-02-29,1\n2024-03-01,2.5"
FENCED = "```python\nprint(1)\n```"

# arguments, satisfied by, violated by: (response, beginning of the violation)
EXAMPLES: list[tuple[dict, list[str], list[tuple[str, str]]]] = [
    (
        {"constraint": "words", "min": 2, "max": 3},
        ["one two", "so-so – yes", "a, b & c"],
        [("one", "1 words, at least 2"), ("a b c d", "4 words, at most 3"), ("", "0 words")],
    ),
    ({"constraint": "characters", "max": 5}, ["abcde", " abcde "], [("abcdef", "6 characters, at most 5")]),
    (
        {"constraint": "sentences", "count": 2},
        ["One. Two.", "Mr. A. Smith came! He left", "One\nTwo"],
        [("One.", "1 sentences, not 2"), ("A b. C d. E f.", "3 sentences")],
    ),
    ({"constraint": "questions", "min": 1}, ["Why? Because.", "He asked “Why?”"], [("Why not.", "0 questions")]),
    ({"constraint": "paragraphs", "count": 2}, ["a\nb\n\nc"], [("a\nb", "1 paragraphs, not 2"), ("a\n\nb\n \nc", "3")]),
    (
        {"constraint": "paragraph_first_word", "paragraph": 2, "word": "However"},
        ["One.\n\nHowever, two.", "One.\n\n*however* two."],
        [("However", "1 paragraphs, at least 2"), ("One.\n\nTwo", "paragraph 2 begins with 'Two'")],
    ),
    ({"constraint": "starts_with", "text": "Dear"}, ["Dear Ada"], [("dear Ada", "the response starts with 'dear'")]),
    ({"constraint": "ends_with", "text": "Yours."}, ["So, Yours.\n"], [("Yours", "the response ends with 'Yours'")]),
    (
        {"constraint": "keyword", "keyword": "tea", "count": 2},
        ["Tea, and more tea."],
        [("Teapot tea", "1 times 'tea', not 2"), ("tea tea tea", "3 times")],
    ),
    (
        {"constraint": "contains", "keywords": ["green tea", "cup"]},
        ["A cup of Green\ntea"],
        [("Green tea in cups", "'cup' is missing")],
    ),
    ({"constraint": "forbidden", "keywords": ["very"]}, ["every day"], [("Very good", "'very' occurs")]),
    ({"constraint": "forbidden_characters", "characters": ",;"}, ["a.b"], [("a, b, c", "',' occurs 2 times")]),
    ({"constraint": "letter_frequency", "letter": "e", "max": 1}, ["Eat", "b"], [("Here", "2 times the letter 'e'")]),
    (
        {"constraint": "casing", "casing": "lower"},
        ["all small, 3 times"],
        [("all Small", "'Small' is not in lower case"), ("123", "the response has no letters")],
    ),
    ({"constraint": "casing", "casing": "upper"}, ["ALL GREAT"], [("ALL Great", "'Great' is not in upper case")]),
    ({"constraint": "capital_words", "min": 2}, ["THE SUN a"], [("THE Sun A", "1 words in capitals, at least 2")]),
    (
        {"constraint": "language", "language": "de"},
        [GERMAN],
        [(ENGLISH, "the language is en"), ("Ja.", "2 letters of prose, too few"), ("1 2 3", "0 letters of prose")],
    ),
    ({"constraint": "choice", "options": ["yes", "no"]}, ["yes"], [("Yes", "'Yes' is not one of the options")]),
    (
        {"constraint": "quoted"},
        ['"Go."', "“Go.”", "«Va»"],
        [
            ("Go.", "the response is not in quotation"),
            ('"Go." he said', "the response is not"),
            ('""', "the response is"),
        ],
    ),
    (
        {"constraint": "postscript"},
        ["Dear A\n\nP.S. Bring tea."],
        [("Dear A\n\nBye", "the last paragraph begins with 'Bye'"), ("A\n\nP.S.", "no text after P.S.")],
    ),
    (
        {"constraint": "placeholders", "min": 2},
        ["To [name] at [street]"],
        [("- [x] [name] [here](https://x.example)", "1 placeholders, at least 2")],
    ),
    ({"constraint": "highlights", "min": 2}, ["*so* and **so**"], [("2 * 3 * 4 *so*", "1 highlighted passages")]),
    ({"constraint": "lines", "count": 2}, ["a\n\nb"], [("a", "1 lines, not 2")]),
    (
        {"constraint": "line_words", "max": 2},
        ["a b\nc"],
        [("a\na b c", "line 2: 3 words, at most 2"), ("", "the resp")],
    ),
    ({"constraint": "line_length", "min": 2, "max": 4}, ["abcd\nab"], [("ab\na", "line 2: 1 characters, at least 2")]),
    ({"constraint": "line_sentences", "count": 1}, ["One.\nTwo!"], [("One.\nA b. C d.", "line 2: 2 sentences")]),
    (
        {"constraint": "line_syllables", "syllables": [5, 7, 5], "tolerance": 1},
        [
            "An old silent pond\nA frog jumps into the pond\nSplash! Silence again",
            "1. An old silent pond\nA frog jumps into the pond\nSplash! Silence again",
        ],
        [
            ("A frog\nA frog\nA frog", "line 1 has about 2 syllables, not 5"),
            ("An old silent pond", "1 lines, not a multiple of 3"),
        ],
    ),
    (
        {"constraint": "line_pattern", "pattern": "[A-Z]+: (a|b)+"},
        ["X: abba", "X: a\nYY: b"],
        [
            ("X: c", "'X: c' does not match"),
            ("x X: a", "'x X: a' does"),
            ("X: a c", "'X: a c'"),
            ("", "the response is"),
        ],
    ),
    (
        {"constraint": "shorter_lines", "lines": [2]},
        ["long line\nshort\nlong line"],
        [("ab\nab\nabc", "the lines have [2, 2, 3]"), ("a", "1 lines, at least 2")],
    ),
    (
        {"constraint": "sorted_lines"},
        ["- Apple\n- bee\n- Cod"],
        [("b\nA", "'a' comes after 'b'"), ("a\nA", "'a' comes after 'a'"), ("", "the response is empty")],
    ),
    ({"constraint": "sorted_lines", "unique": False}, ["a\na"], [("b\na", "'a' comes after 'b'")]),
    ({"constraint": "acrostic", "word": "Hi"}, ["“Home\n1ce", "Home\nin"][1:], [("Home", "the lines begin with 'H'")]),
    (
        {"constraint": "speakers", "speakers": ["A", "B"]},
        ["A: x\nB: y\nA: z"],
        [("A: x\nA: y", "line 2 does not begin with B:"), ("A:", "line 1 does not"), ("", "the response is empty")],
    ),
    (
        {"constraint": "ascending_years"},
        ["980 - a b\n1066 – c d"],
        [("1066 – ab\n980 – cd", "the years do not ascend"), ("In 1066 a", "'In 1066 a' is not a year")],
    ),
    ({"constraint": "bullets", "count": 2}, ["- a\n* b", "x:\n- a\n  • b"], [("- a\n-b", "1 bullets, not 2")]),
    (
        {"constraint": "numbered_items", "count": 2},
        ["So:\n1. a\n2) b"],
        [("1. a\n3. b", "number 3. instead of 2."), ("1. a", "1 numbered items, not 2")],
    ),
    (
        {"constraint": "numbered_stanzas", "count": 1, "lines": 2, "max_line_words": 2},
        ["1.\na b\nc", "1. a\nb"],
        [("1.\na", "1. has 1 lines, not 2"), ("1.\na b c\nd", "1. has a line of more than 2"), ("a", "text before 1.")],
    ),
    (
        {"constraint": "checkboxes", "min": 2, "ticked": 1},
        ["- [x] a\n- [ ] b"],
        [("- [ ] a\n- [ ] b", "0 boxes are ticked"), ("- [x] a", "1 boxes, at least 2"), ("x", "a line is not")],
    ),
    (
        {"constraint": "headings", "count": 2, "level": 2},
        ["# T\n## A\nx\n## B"],
        [("# A\n## B", "1 headings, not 2"), ("##A\n##B", "0 headings")],
    ),
    (
        {"constraint": "headings", "min": 1, "titles": ["A", "B"]},
        ["# A\nx\n## B"],
        [("# B\n# A", "the headings are ['B', 'A']")],
    ),
    (
        {"constraint": "sections", "marker": "SECTION", "count": 2},
        ["SECTION 1\na\n## Section 2: b"],
        [("SECTION 2\nSECTION 1", "the sections are numbered [2, 1]"), ("SECTION 1", "1 sections 'SECTION', not 2")],
    ),
    ({"constraint": "outline", "chapters": 1, "points": 1}, ["1 A\n1.1 B"], [("1 A\n1.2 B", "the lines are 1 1.2")]),
    (
        {"constraint": "glossary", "count": 2, "max_definition_words": 2},
        ["**a**: x\n**b**: y z"],
        [
            ("**b**: x\n**a**: y", "the words are not sorted"),
            ("a: x", "'a: x' is not **word**: definition"),
            ("**a**: x y z", "the definition of a has 3 words"),
        ],
    ),
    (
        {"constraint": "parts", "separator": "***", "count": 2},
        ["a\n***\nb"],
        [("a *** b", "1 parts, not 2"), ("a\n***", "a part has no text")],
    ),
    ({"constraint": "title"}, ["<<Tides>>\nText"], [("<<>> Tides", "no title in"), ("# Tides", "no title")]),
    ({"constraint": "only", "element": "table"}, [TABLE], [(f"So:\n{TABLE}", "the response is not one table")]),
    (
        {"constraint": "only", "element": "code_block"},
        [FENCED],
        [(f"{FENCED}\nDone.", "the response is not one code b")],
    ),
    ({"constraint": "only", "element": "bullets"}, ["- a\n- b"], [("So:\n- a", "the response is not one bullets")]),
    ({"constraint": "only", "element": "numbered_items"}, ["1. a"], [("a", "the response is not one numbered items")]),
    (
        {"constraint": "only", "element": "emoji"},
        ["🐢 🏁", "👩‍🚀", "❤️"],
        [("🐢!", "the response is not one emoji"), ("", "")],
    ),
    (
        {"constraint": "table_header", "columns": ["a", "b"]},
        [f"So:\n\n{TABLE}", "a|b\n-|-"],
        [("| a | c |\n|---|---|", "the columns are ['a', 'c']"), ("| a | b |", "no table"), ("", "no table")],
    ),
    (
        {"constraint": "table_rows", "count": 2},
        [TABLE, f"{TABLE}\nDone."],
        [(f"{TABLE}\n| 5 | 6 |", "3 rows, not 2"), (f"{TABLE}\n| 5 | |", "a row does not have 2"), ("a", "no table")],
    ),
    (
        {"constraint": "code_blocks", "count": 1, "languages": ["python"]},
        [f"So:\n{FENCED}\nDone."],
        [
            ("```sh\nls\n```", "a code block is marked 'sh'"),
            ("print(1)", "0 code blocks, not 1"),
            ("```python\n1", "0 code"),
        ],
    ),
    (
        {"constraint": "json", "keys": ["a", "b"], "types": {"a": "integer", "b": "list"}, "lengths": {"b": 2}},
        ['{"b": [1, 2], "a": 1}', '```json\n{"a": 1, "b": [[], {}]}\n```'],
        [
            ('{"a": 1}', "the keys are ['a']"),
            ('{"a": true, "b": [1, 2]}', "a is not a integer: True"),
            ('{"a": 1, "b": [1]}', "b has 1 items, not 2"),
            ('{"a": 1, "a": 1, "b": [1, 2]}', "not valid JSON: a key occurs twice"),
            ('{"a": NaN, "b": []}', "not valid JSON: NaN"),
            ("[1]", "not a mapping: [1]"),
            ('So: {"a": 1}', "not valid JSON"),
        ],
    ),
    (
        {"constraint": "yaml", "keys": ["a", "b"], "ordered": True, "types": {"b": "date"}},
        ["a: 1\nb: 2024-02-29", "```yaml\na: x\nb: '2024-02-29'\n```"],
        [
            ("b: 2024-02-29\na: 1", "the keys are ['b', 'a']"),
            ("a: 1\nb: soon", "b is not a date"),
            ("a: [", "not valid YAML"),
            ("- a", "not a mapping"),
        ],
    ),
    (
        {"constraint": "csv_header", "columns": ["day", "grade"]},
        [CSV],
        [("day;grade", "the header is [['day;grade']]")],
    ),
    (
        {"constraint": "csv_rows", "count": 2},
        [CSV, f"```csv\n{CSV}\n```"],
        [
            (f"{CSV}\n2024-03-02,3", "3 rows, not 2"),
            (f"{CSV}\n2024-03-02", "['2024-03-02'] does not have 2"),
            ("", "0 rows"),
        ],
    ),
    (
        {"constraint": "csv_column", "column": "grade", "type": "number", "min": 1, "max": 6, "ascending": True},
        [CSV],
        [
            (f"{CSV}\nx,2.4", "the column grade is not in order"),
            (f"{CSV}\nx,7", "'7' is not a grade from 1 to 6"),
            (f"{CSV}\nx,good", "'good' is not a number"),
            ("day\n1", "no column 'grade'"),
        ],
    ),
    (
        {"constraint": "csv_column", "column": "day", "type": "date"},
        [CSV],
        [(f"{CSV}\n2023-02-29,1", "'2023-02-29' is not a date")],
    ),
    (
        {"constraint": "csv_column", "column": "n", "type": "integer"},
        ["n\n-1\n0"],
        [("n\n1.5", "'1.5' is not an integer")],
    ),
]
