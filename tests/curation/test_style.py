"""The paper: drop answers "written in the first person ("I", "my", …)", or referring to other answers or the site."""

import pytest

from lima.curation import style
from lima.text import prose, removal_marks
from lima.text.html_to_markdown import to_marked


@pytest.mark.parametrize(
    "answer",
    [
        "I would boil it.",
        "It works, I'm sure.",
        "It works, I’ve tried.",
        "That is what I'd do.",
        "In my experience it works.",
        "MY opinion: no.",
        "IMHO it boils.",
        "It boils, AFAIK.",
        "The fault is mine.",
        "Somebody told me.",
        "A photo of myself.",
        "(I think)",
        "Neither do I.",
        "It fails. i think it leaks",
        "i'm not sure",
        "- First item\n- I add salt",
        "> quoted\n\nI agree.",
        "When I, in 1990, left",
        "Type I've never seen",
        "At the U.S. I saw one",
        "Guests of our restaurant ask for it cold.",
        "Our own kids never noticed.",
        "i’m not sure",
        "It fails. i’ve seen it leak",
        "Type I’ve never seen",
        "Our software does both.",
        "Try the ale that we sell.",
    ],
)
def test_first_person_is_detected(answer):
    assert style.first_person(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Boil it for ten minutes.",
        "Since n is even, we have n = 2k; let us see what our k is.",  # the teacher's "we", kept in the released data
        "Inform the IT team in the US about ME/CFS.",
        "Our proof needs a lemma, our bodies need salt.",
        "The kings James I and Elizabeth I reigned, Wilhelm I too.",
        "World War I ended in 1918.",
        "A type I error rejects a true hypothesis.",
        "Type I diabetes is treated with insulin.",
        "I/O is slow.",
        "Ohm: I = V/R, so I=2 A.",
        "Press Ctrl+I or Ctrl + I.",
        "Take I-95 north.",
        "J. I. Packer wrote it.",
        "I. Introduction\nII. Method",
        "Two cases: (I) rain, (II) snow.",
        "Keep it continuous, I.e., with no gap.",
        "They dug the mine; it was a coal mine.",
        "For each i take a look at the list.",  # a variable
        "Use `I = my.value` here.",
        "```python\nmy = me + I\n```",
        "~~~\nwe\n~~~",
        "> I have a dream\n> that my children",
        'He said "I have a dream" and left.',
        "He said “my children”.",
        "With $I_1 + I$ and $$my = we$$ it follows.",
        "The music of mimes and memes",
    ],
)
def test_other_words_are_not_first_person(answer):
    assert style.first_person(answer) is None


def test_detail_includes_context():
    assert style.first_person("It is widely known that I never boil it twice.") == "widely known that I never boil it"


@pytest.mark.parametrize(
    "answer",
    [
        "As mentioned, it boils.",
        "As already mentioned above, it boils.",
        "As @Bob says, it boils.",
        "@Bob is right.",
        "As Bob said, it boils.",
        "See Stack Exchange for more.",
        "On stackexchange it is told.",
        "There is a question on StackOverflow.",
        "There is a question on Stack Overflow.",
        "The other answers are right.",
        "Another answer tells how.",
        "Bob's answer tells how.",
        "The answer above is right.",
        "The accepted answer is wrong.",
        "See the comments.",
        "Your comment is right on.",
        "As the OP says.",
        "The original poster wants tea.",
        "Your post says tea.",
        "The linked question tells how.",
        "This is a duplicate of an old one.",
        "On this site nobody knows.",
        "It boils.\n\nEdit: it does not.",
        "**EDIT 2**: it does not.",
        "Update (2014): it does not.",
        "Please upvote it.",
        "Downvoters, say why.",
        "To answer the question in the title: no.",
        "The title of your question says tea.",
        "Over at cooking.SE they boil it.",
        "There are already two questions about tea.",
        "No repeat of that one, please.",
        "That is another question.",
        "as Bob wrote above, it boils",
        "As Bob Miller has already written, it boils.",
        "as gannet commented, it boils",
        "Bob explained below how it boils.",
        "As others have said, it boils.",
        "As you said, it boils.",
        "It boils, and as noted above, it foams.",
        "As stated, it boils.",
        "In quid's answer it boils.",
        "Bob’s excellent answer tells how.",
        "All the answers so far are vague.",
        "Look at this answer.",
        "Please leave a comment.",
        "It is too long for a comment.",
        "In a comment to the question, Bob asks why.",
        "In a comment you asked why.",
        "It is explained in the comments.",
        "This is a community wiki.",
        "Feel free to edit it.",
        "Let us hear what other people say here.",
        "The SE answer on tea is right.",
        "On SE it is told.",
        "This post is about tea.",
        "The thread has more about tea.",
        "People here know about tea.",
        "Tea has been covered by other questions.",
        "That has been well answered.",
        "As above, it boils.",
        "Some of the above has changed since then.",
        "It boils.\n\nAnswered by: the tea team",
        "I agree with @media_bob.",
        "And as commented by Bob, it boils.",
        "In addition to what’s been said, it boils.",
        "The comment of Bob Miller raises a point.",
        "Bob already gave a good answer.",
        "It might not belong on this SE.",
        "It may not be the right forum for this.",
        "This question is inspired by a bottle of tea.",
        "It boils.\n\nEDIT\n\nIt does not.",
        "This is based off of a question on the old site.",
    ],
)
def test_reference_to_the_site_or_other_answers_is_detected(answer):
    assert style.site_reference(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is 42, in response to your question.",
        "Too deep a recursion ends in a stack overflow.",
        "The second edition: a classic.",
        "Edit the file: open it first.",
        "Write to bob@example.com.",
        "An op-amp, or OP amp, amplifies.",
        "`@Override` marks it, and `# see the comments above` says why.",
        "> as mentioned in other answers",
        "Comment out the line.",
        "Whether it tastes good is another question entirely.",
        "It is already answered by the question itself.",
        "Each worker waits until the thread finishes; another thread is started then.",
        "The thread is done when its worker's threads are.",
        "Glue the post into its hole, and wait before the posts are loaded.",
        "The post office closes.",
        "The post distillation step takes long.",
        "Whether it lives is another question, really.",
        "Say why in a comment next to the loop.",
        "Add a comment to each function.",
        "Licenses stand in the comments of each file.",
        "The rule @media print hides it.",
        "An @app.route decorator, or the @bob annotation, marks it.",
        "Mark it with @bob annotations.",
        "Write @Override before it, or @param name.",
        "It is false as stated.",
        "The article points out, as the notes say, that it boils.",
        "With a beer like that, the sour notes come later.",
        "As Darwin wrote in his book, they vary.",
        "The tutor's answer and students' answers differ.",
        "If it's answer enough, stop.",
        "Your best answer is a question.",
        "Write the answer below the line.",
        "It boils. The above holds for tea too.",
        "Push it onto this stack.",
    ],
)
def test_other_words_are_not_references(answer):
    assert style.site_reference(answer) is None


@pytest.mark.parametrize(
    "html",
    [
        # an announcement, and what it announced
        '<p>The right crumb looks like this:</p><p><a href="x"><img src="x"></a></p><p>Then rest.</p>',
        "<p>Below is a simple diagram.</p><p><img></p><p>Then rest.</p>",
        "<p>The ratio is shown next.</p><svg><path/></svg><p>Then rest.</p>",
        "<p>The crumb is open. You get a graph of it.</p><iframe></iframe><p>Then rest.</p>",
        "<p>Rest it.</p><p><img></p><p>(Source: Bakers' Guild)</p>",
        "<p>Rest it.</p><p><img></p><p>As you can see, it rose.</p>",
        "<blockquote><p>Rest it this way:</p><p><img></p></blockquote><p>Then bake.</p>",
        "<p>Rest it.</p><p><img></p><p>Click on the image to enlarge it.</p>",
        # a link whose words say nothing without it
        "<p>It is given <a>here</a> .</p>",
        "<p>See <a>this</a>.</p>",
        "<p><a>This 1953 analysis</a> has the details.</p>",
        "<p>The figures are from this <a>table</a>.</p>",
        "<p>According to this USDA <a>link</a>, it boils.</p>",
        "<p>It boils (<a>source</a>).</p>",
        "<p>It boils. <a>[2]</a></p>",
        "<p>It boils.<sup><a>Q</a></sup></p>",
        "<p>As discussed in <a>Why does tea boil?</a>, it boils.</p>",
        "<p>Follow Bob's <a>other post</a>.</p>",
        "<p>It boils. <a>Click here for a list</a></p>",
        # a link that is to be followed
        "<p>See, for example, <a>the brewers' agenda</a>.</p>",
        "<p>See the Wikipedia entries for <a>yeast</a> and <a>malt</a>.</p>",
        "<p>See Wikipedia's page on <a>malting</a> for more.</p>",
        "<p>Have a look at <a>Malting at Home</a>.</p>",
        "<p>More can be found in <a>Malting at Home</a>.</p>",
        "<p>It boils.</p><p>Related reading: <a>Malting at Home</a></p>",
        "<p>It boils.</p><p>Read more: <a>Malting at Home</a></p>",
        "<p>It boils.</p><p><a>Malting at Home</a></p><p>Then rest.</p>",
        # an address that was a part of its sentence
        "<p>Sourced from <a>http://a.org</a> and <a>http://b.org</a>.</p>",
        "<p>Use <a>http://a.org</a> to look it up.</p>",
        "<p>It is there:</p><p><a>http://a.org</a></p><p>Then rest.</p>",
        # likely references near a link
        "<p>You can find a talk <a>online</a> here.</p>",
        "<p>See these instructions: <a>malting</a>.</p>",
        "<p>Follow this link. <a>Malting</a></p>",
        "<p>The first link has it. " + "It boils. " * 30 + "<a>Malting</a></p>",
        "<p>Here is an article that tells how: <a>malting</a>.</p>",
        "<p>You can gather information here: <a>Yeast in winter</a></p>",
        "<p>For more detailed info on yeast, there is a leaflet by <a>the guild</a>.</p>",
        "<p>For tons of detail, <a>the guild has a great guide</a>.</p>",
        "<p>Here is an overview of malting.</p><p><a>http://a.org</a></p>",
        "<p>Yeast is treated in <a>Chapter 6</a>.</p>",
        "<p>It is well covered by your link.</p>",
        "<p><a>The 1901 law as PDF</a>, to read more.</p>",
        "<p>The white paper is below.</p><p><a>http://a.org</a></p>",
        "<p>According to that article it boils.</p>",
        "<p>The claims on that page are false.</p>",
        "<p>That Brewing Times article tells more.</p>",
        "<p>Here is a page on <a>yeast</a>.</p>",
        "<p>A <a>nice article</a> on yeast.</p>",
        # an item of the site, named by its title
        "<p>In the question <a>Yeast in winter</a> there are some tips.</p>",
        "<p>The guild has <a>a decent article</a> on yeast.</p>",
        "<p>The guild has a page on <a>yeast</a> for further reading.</p>",
        # words that always point
        "<p>See the following articles at the guild:</p><ul><li>Malt</li></ul>",
        "<p>It froze, as the author of that video says.</p>",
        "<p>See the picture below.</p>",
        "<p>The image above shows it.</p>",
        "<p>Read the article linked, then stir.</p>",
        "<p>The linked article is misleading.</p>",
        "<p>Malt, dried. (Image: Maltsters' Guild)</p>",
        "<p>For more details and pictures, see Malting at Home.</p>",
        "<p>For further information check out the brewers' handbook.</p>",
        "<p>A longer explanation can be read at the Brewers' Page.</p>",
        "<p>That is all.</p><p>See also:</p><ul><li>Malting at Home</li></ul>",
        "<p>That is all.</p><p>Helpful links</p><ul><li>Malting at Home</li></ul>",
        "<p>The link you provided tells it.</p>",
        "<p>The article you linked tells it.</p>",
        "<p>Here is a link that tells it.</p>",
        "<p>Read more here!</p>",
        "<p>Here are the strongest ones:</p>",
        "<blockquote>A quotation.</blockquote><p>Also;</p>",
    ],
)
def test_reference_to_a_removed_link_or_image_is_detected(html):
    assert style.dangling_reference(to_marked(html), links_known=True)
    assert not removal_marks.MARK.search(style.dangling_reference(to_marked(html), links_known=True))


@pytest.mark.parametrize(
    "html",
    [
        "<p>Run this:</p><pre>malt --dry</pre>",
        "<p>They say:</p><blockquote>Dry it.</blockquote>",
        "<p>It comes in three kinds:</p><ul><li>dry</li></ul>",
        "<p>A <a>hash table</a> is a <a>linked list</a> of a <a>binary search tree</a>.</p>",
        "<p>Here is the yeast. It is alive.</p><p><a>http://a.org</a></p>",
        "<p>Upload a video, then play that video.</p>",
        "<p>See the following table of <a>malts</a>: dry, wet.</p>",
        "<p>For more foam, pour higher and see it rise.</p>",
        "<p>For more details, look up malting.</p>",
        "<p>Wild yeast can be found in the air.</p>",
        "<p>References</p><ul><li>A. Brewer, <a>On Malt</a>, 1901</li></ul>",
        "<p>You see: it works.</p>",
        "<p>The image of a set under a function is a set.</p>",
        "<p>To see this, write both as twice a number plus one.</p>",
        "<p>Many do not see these as faults. It can be seen here that they are none.</p>",
        "<p>The rule described here is known as Bob's.</p>",
        "<p>Store the images. Each of these images has 256 bytes.</p>",
        "<p>Mind the links between the nodes: this link is the link you need.</p>",
        "<p>Rest it.</p><p><img></p><p>Then bake it.</p>",
        "<p><a>Yeast</a> eats sugar, and <a>malt</a> gives it.</p>",
        "<p>These types of <a>cohort studies</a> are hard. These <a>yeasts</a> are not.</p>",
        "<p>This is <a>telemetry</a>, and there are <a>many other kinds</a>.</p>",
        "<p>You can see that <a>the yeast</a> is alive.</p>",
        "<blockquote>Dry it.</blockquote><p><a>On Malt, by A. Brewer</a></p><p>So dry it.</p>",
        '<p>Type <code>see <a href="x">here</a></code>, then "look <a>here</a>".</p>',
    ],
)
def test_reference_to_the_text_itself_is_allowed(html):
    assert style.dangling_reference(to_marked(html), links_known=True) is None


@pytest.mark.parametrize("text", ["It can be found here.", "See these instructions.", "Follow this link."])
def test_likely_references_match_if_links_are_unknown(text):
    assert style.dangling_reference(text, links_known=False)
    assert style.dangling_reference(text, links_known=True) is None or "this link" in text


def test_marks_are_read_as_places_in_the_text_without_them():
    link, end, cut = removal_marks.LINK, removal_marks.LINK_END, removal_marks.CUT
    marked = f"a {link}b{end} {cut}c {link}d\n\ne {link}{end}"
    # "a b c d⏎⏎e ": b is 2 to 3, the image stood at 4, d is never closed and ends at 7, an address stood at 11
    assert removal_marks.read(marked) == ("a b c d\n\ne ", ((2, 3), (6, 7), (11, 11)), (4,))
    assert removal_marks.removed(marked) == removal_marks.read(marked).text


def test_the_quoted_share_counts_the_characters_of_quoted_lines():
    # "> abcd" 6, a line break 1, "efg" 3: 6 of 10
    assert prose.quoted_share("> abcd\nefg") == 0.6
    assert prose.quoted_share("```\n> x\n```") < 0.5
    assert prose.quoted_share("") == 0


@pytest.mark.parametrize(
    "formula", ["$a$", "$$a$$", r"\(a\)", r"\[a\]", r"\begin{align}a\end{align}", "`a`", "```\na\n```"]
)
def test_blanking_code_keeps_positions_of_other_characters(formula):
    shown = prose.without_code(f"so {formula} on")
    assert shown == f"so {''.join(' ' if sign != chr(10) else sign for sign in formula)} on"


def test_stray_backtick_affects_only_its_paragraph():
    assert prose.own_words("It`s dry.\n\nMy malt`s dry.") == "It`s dry.\n\nMy malt`s dry."
    assert style.first_person("It`s dry.\n\nMy malt`s dry.")


def test_a_fence_that_is_never_closed_hides_the_rest_and_longer_fences_hold_shorter_ones():
    assert prose.own_words("a\n```\nI") == "a\n "
    assert prose.own_words("````\n```\nI\n````\nb").strip() == "b"


@pytest.mark.parametrize("code", ["    malt --dry\n    stir", "\tmalt --dry", "  \tmalt --dry"])
def test_trimming_keeps_indentation_of_code_at_the_start(code):
    assert prose.trimmed(f"\n \t\n{code}\n\nThen rest. \n") == f"{code}\n\nThen rest."
    assert prose.trimmed("\n   Then rest.\n\n    malt\n") == "Then rest.\n\n    malt"
    assert prose.trimmed(" \n\t") == prose.trimmed("") == ""
