import pytest

from lima.config.sections import Language
from lima.text import language

P = Language(wanted="en", least_probability=0.95, min_chars=60)
TEXTS = {
    "de": "Der Teig muss eine Stunde ruhen, bevor man ihn ausrollt, sonst reisst er beim Backen leicht ein.",
    "fr": "Il faut laisser reposer la pâte une heure avant de l'étaler, sinon elle se déchire à la cuisson.",
    "nl": "Het deeg moet een uur rusten voordat je het uitrolt, anders scheurt het snel in de oven.",
    "ru": "Тесто должно отдохнуть час, прежде чем его раскатывать, иначе оно порвётся в духовке при выпечке.",
    "ja": "生地は一時間ほど休ませてから伸ばしてください。"
    "そうしないと焼くときに破れます。温度は低めにしてくださいね。" * 2,
}
ENGLISH = "The dough has to rest for an hour before it is rolled out, or else it tears in the oven."


@pytest.mark.parametrize("code", TEXTS)
def test_another_language_is_reported_with_its_probability(code):
    detected = language.foreign(TEXTS[code], settings=P)
    assert detected
    name, probability = detected.split(", probability ")
    assert name == code
    assert float(probability) >= P.least_probability


def test_the_wanted_language_passes_and_is_configurable():
    assert language.foreign(ENGLISH, settings=P) is None
    german = Language(wanted="de", least_probability=0.95, min_chars=60)
    assert language.foreign(TEXTS["de"], settings=german) is None
    assert str(language.foreign(ENGLISH * 2, settings=german)).startswith("en, probability ")


@pytest.mark.parametrize(
    "quoted",
    [
        f"```\n{TEXTS['de']}\n```",
        f"> {TEXTS['de']}",
        f"`{TEXTS['de']}`",
        f"“{TEXTS['de']}”",
        f"$$\\text{{{TEXTS['de']}}}$$",
        f"\\begin{{align}}\\text{{{TEXTS['de']}}}\\end{{align}}",
    ],
)
def test_code_quotations_and_formulas_do_not_count(quoted):
    assert language.foreign(f"{ENGLISH}\n\n{quoted}\n", settings=P) is None
    assert language.foreign(f"{quoted}\n", settings=P) is None


def test_a_short_text_passes():
    assert language.foreign("Der Teig muss eine Stunde ruhen.", settings=P) is None
    assert language.foreign("", settings=P) is None
