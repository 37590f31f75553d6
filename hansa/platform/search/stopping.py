"""Stopping: words that say little about what is searched for, by language. Pure.

A search that has others does not ask for these. They are few on purpose: articles, prepositions,
conjunctions, pronouns, and the words of questions, none that also names a thing.
"""

from typing import Final

_EN: Final = """
a about an and any are as at be been being but by could did do does for from had has have how i
if in into is it its may might must of on or shall should so such than that the their then there
these they this those to was we were what when where which while who whom whose why will with would
you your s ll re ve
"""
_DE: Final = """
aber als am an auf aus bei bis da damit das dass dem den der des die diese dieser dieses doch du ein
eine einem einen einer eines er es für hat ich im in ist kann mit nach oder ohne sich sie sind so um
und uns von vom vor war was welche welcher welches wenn wer wie wir wird wo zu zum zur über
"""
_FR: Final = """
à au aux avec c ce ces cet cette comment d dans de des du elle en est et il ils j je l la le les
leur m mais n ne nous ou où par pour qu quand que quel quelle quelles quels qui s sa se ses son sont
sur t un une vous y
"""
_ES: Final = """
a al como con cual cuando cuáles cuál cómo de del donde dónde el ella en entre es esta este esto la
las le lo los más o para pero por que qué se sin sobre son su sus un una unas unos y
"""
_IT: Final = """
a ad agli ai al alla alle allo anche c che chi ci come con d da dai dal dalla dei del della delle
dello di e ed gli i il in l la le lo ma nei nel nella o per perché quale quali quando s si sono su
sul sulla tra un una uno è
"""
_PT: Final = """
a ao aos as com como da das de do dos e em entre é esta este na nas no nos o os ou para pela pelo
por qual quais quando que se sem seu sua são um uma
"""
_NL: Final = """
aan als bij dat de den der die dit door een en er het hoe ik in is je met naar of om onder op over
te tot uit van voor waar wat welk welke wie zijn
"""
_SV: Final = """
att av de den det din du eller en ett från för hur han hon i inte jag kan med men min nu när och om
på sig som så till vad var vi vilka vilken är
"""
_DA: Final = """
af at de den der det din du eller en er et for fra hvad hvilke hvilken hvor hvordan i ikke jeg kan
med men og om på sig som så til var vi
"""
_NO: Final = """
av at de den der det din du eller en er et fra for hva hvilke hvilken hvor hvordan i ikke jeg kan
med men og om på seg som så til var vi
"""
_RU: Final = """
а без бы в во для до его если же и из или их к как какая какие какой когда кто ли на не но о об от
по при с со так то у что это
"""
_PL: Final = """
a albo czy dla do i jak jaka jaki jakie jest kiedy lub na nie o od oraz po przez się są ten to w we
z za ze że
"""

STOP_WORDS: Final = {
    language: frozenset(words.split())
    for language, words in {
        "en": _EN,
        "de": _DE,
        "fr": _FR,
        "es": _ES,
        "it": _IT,
        "pt": _PT,
        "nl": _NL,
        "sv": _SV,
        "da": _DA,
        "nb": _NO,
        "nn": _NO,
        "no": _NO,
        "ru": _RU,
        "pl": _PL,
    }.items()
}
"""Language to words. A language without an entry has none."""
