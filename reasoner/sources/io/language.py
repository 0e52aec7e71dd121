"""Tells reports that are not in English, by function words and the commonest words of chest reports."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"[^\W\d_]+")
#: Words that hardly occur in English, and for English words that the others do not use: what English shares with any
#: (no, normal, pleural, la, die) is left out, as are headings.
_TABLE = {
    "English": """the of and is are was were with without there for from has have this that to by on at be been or not
        it which may seen lung lungs heart clear chest right left effusion effusions cardiac size within limits
        unremarkable acute evidence disease small stable mild moderate large opacity opacities consolidation
        atelectasis enlarged pulmonary unchanged new increased decreased tube line catheter tip lobe lower upper
        cardiomegaly silhouette bony free air focal bones abnormality noted mass nodule overlying degenerative changes
        fracture hazy patchy basilar airspace volumes vascular vascularity thoracic spine cardiomediastinal contour
        contours""",
    "Spanish": """el los las del una con sin por para que se es está están son sus como más pero hay muy su al también
        derecho derecha izquierdo izquierda derrame pulmón pulmones corazón hallazgos radiografía tórax torax silueta
        cardiaca cardíaca pulmonares alteraciones cardiomegalia neumonía neumotórax pinzamiento aumento engrosamiento
        observan observa aprecian signos cambios senos costofrénicos aórtica infiltrado nódulo imagen lóbulo derechos
        izquierdos""",
    "Portuguese": """os das dos uma com sem não são ao à às pelo pela também mais está estão direito direita esquerdo
        esquerda pulmão pulmões coração tórax derrame achados silhueta cardíaca pneumotórax radiografia área aumentada
        alterações seios costofrênicos consolidação opacidade espessamento nódulo lobo limites normalidade""",
    "French": """le les des une est sont avec sans pour dans sur au aux ou ce cette ces il elle qui droit droite
        gauche épanchement poumon poumons coeur cœur cardiaque radiographie opacité anomalie anomalies foyer culs
        médiastin parenchyme aucun aucune normale normaux taille""",
    "German": """der das den dem des ein eine einer eines ist sind mit ohne und oder für von auf bei nicht kein keine
        keinen keiner als zum zur nach auch rechts links rechten linken herz lunge lungen erguss pleuraerguss
        infiltrat stauung verschattung unauffällig beidseits herzschatten nachweis regelrecht vergrößert röntgen
        aufnahme thoraxaufnahme""",
    "Italian": """il gli della delle dei degli una con senza non sono è nella nel alla che anche destro destra
        sinistro sinistra polmone polmoni cuore versamento pleurico radiografia torace reperti ombra cardiaca
        addensamento limiti norma""",
    "Dutch": """de het een en van met zonder geen niet zijn wordt voor op aan bij ook rechts links longen long hart
        pleuravocht thoraxfoto afwijkingen vergroot""",
    "Catalan": "els amb sense dels és són dret esquerre pulmó cor vessament",
}
_ENGLISH = frozenset(_TABLE.pop("English").split())
_LANGUAGES: dict[str, list[str]] = {}
for _language, _words in _TABLE.items():
    for _word in set(_words.split()):
        _LANGUAGES.setdefault(_word, []).append(_language)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")


def foreign_language(text: str) -> str | None:
    """The language of a text that is not English; None for English, and where it cannot be told.

    Another script than Latin's decides by itself; else the other language's words must outnumber the English ones.
    """
    letters = [c for c in text if c.isalpha()] if not text.isascii() else ()
    if letters and 2 * sum(1 for c in letters if not _LATIN.match(c)) > len(letters):
        return "another script"
    words = _WORD.findall(text.lower())
    hits = Counter(language for word in words if word in _LANGUAGES for language in _LANGUAGES[word])
    if not hits:
        return None
    name, best = hits.most_common(1)[0]
    english = sum(word in _ENGLISH for word in words)
    return name if best > english and (best > 1 or len(words) <= 4) else None
