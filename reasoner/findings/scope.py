"""Which status each mention of a sentence has: what denies, doubts, reports or supposes it, and how these combine.

In the manner of ConText (Harkema et al. 2009, doi 10.1016/j.jbi.2009.05.002): a cue acts forward until a terminator, or
backward over the coordinated mentions before it; pseudo-negations ("no change in") are longer terms and so never match.
Around them act the marks of whole clauses (`clauses.py`): they void, doubt or reverse what the cues say.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasoner.findings.clauses import Outer, outer
from reasoner.findings.lexicon import Roles, Term, load
from reasoner.findings.text import Token
from reasoner.schema import Status

#: A cue acts on an adjective ("not enlarged", "no significant enlargement") only this many tokens away.
ADJECTIVE_REACH = 4
#: A backward walk never goes further, which keeps the whole linear.
MAX_WALK = 40
#: What a denial was about.
_SPENT = frozenset(("concept", "quality"))
_SMALL = {"trace", "small", "minimal", "mild", "moderate", "severe", "borderline"}
_FORWARD = tuple((kind, f"{kind}_forward") for kind in ("hypothetical", "negation", "hedge"))

_MARKS = frozenset(",;:()?-")
#: Their scope goes on over "and there is": "if there is an effusion and there is a nodule".
_CONDITIONS = frozenset(
    ("should", "in", "if", "whether", "when", "unless", "that", "were", "had", "provided", "suppose", "assume")
)
#: Behind their comma something is asserted: "assuming the film is of this patient, there is ...".
_GRANTED = frozenset(("assuming", "provided", "granted", "granting"))
_AUXILIARY = frozenset(["is", "are", "was", "were", "does", "do", "did", "has", "have", "had", "can", "could"])
#: A sentence that begins with these has its main clause behind a comma.
_SUBORDINATE = frozenset(("although", "though", "even", "while", "whereas", "since", "because", "as", "given", "if"))
#: A clause of its own begins with one of these behind a comma.
_OPENING = frozenset(
    (
        "just",
        "only",
        "merely",
        "simply",
        "rather",
        "instead",
        "the",
        "there",
        "it",
        "this",
        "these",
        "that",
        "i",
        "we",
        "my",
        "his",
        "her",
        "their",
        "so",
    )
)
_DEFINITE = frozenset(("the", "this", "these", "those", "his", "her", "their", "its", "known", "such"))
#: "This" and "it" begin a clause unless they stand behind one of these.
_INSIDE = frozenset(("on", "in", "of", "at", "from", "with", "to", "for", "by", "about"))
#: A denial that something is there takes no more words.
_FEW = 8

Mark = tuple[str, Term]


class Scopes:
    """Forward and backward cues of one sentence, resolved for each of its items.

    `forward[k]` is the cue in force at item k as (kind, cue item), `backward[k]` one that comes after it, `answers[k]`
    a later clause that says whether it is so, `outer[k]` what is done to the clause around it.
    """

    def __init__(self, tokens: Sequence[Token], items: list[Term], marks: Sequence[Term] = ()) -> None:
        self.tokens, self.items = tokens, items
        self.lexicon = load()
        self.forward: list[Mark | None] = [None] * len(items)
        self.backward: list[Mark | None] = [None] * len(items)
        self.answers: list[Term | None] = [None] * len(items)
        self.adversative = {mark.first for mark in marks if "adversative" in mark.roles}
        self.outer: list[Outer] = outer(tokens, items, marks)
        self._run()

    def status(self, k: int) -> tuple[Status | None, list[Term]]:
        """The status of the mention at item k and the cues that give it; None for one that is not asserted at all."""
        own, cues = self._own(k)
        answer = self.answers[k]
        if answer is None or answer.roles["answers on"]:
            return own, cues
        said = answer.roles["answer"]
        stays = own == said or (own == "absent" and said == "present" and not answer.roles["turns"])
        return (own, cues) if stays else (said, [answer])

    def _own(self, k: int) -> tuple[Status | None, list[Term]]:
        """The status that the clause of the mention at item k gives it."""
        before, after = self.forward[k], self.backward[k]
        kinds = {mark[0]: mark[1] for mark in (before, after) if mark}
        around = self.outer[k]
        if after and after[0] == "outcome_yes":  # "the absence of an effusion is confirmed"
            if around.doubt:
                return "uncertain", [around.doubt]
            denied = before is not None and before[0] == "negation" and before[1].roles.get("operator") == "lack"
            return ("absent", [before[1]]) if before and denied else ("present", [])
        if after and after[0] == "outcome_no":
            return "absent", [after[1]]
        if "hypothetical" in kinds or around.void:
            return None, []
        if after and after[0] == "hedge":
            return "uncertain", [after[1]]
        negation = kinds.get("negation")
        if (
            before
            and after
            and after[0] == "negation"
            and after[1].roles.get("operator") == "lack"
            and self._undoes(before, k)
        ):
            negation = None  # "by no means is it absent"
        cues = [*([negation] if negation else ()), *around.reversals]
        if around.doubt:
            return "uncertain", [*cues, around.doubt]
        if (negation is not None) != len(around.reversals) % 2:
            return "absent", cues
        if "hedge" in kinds and not negation:
            return "uncertain", [kinds["hedge"]]
        return "present", cues

    def presupposed(self, k: int) -> bool:
        """Whether the mention at item k is taken to be there: "the cause of the effusion is unclear"."""
        before = self.forward[k]
        return before is not None and before[0] == "presupposed"

    def punctuation(self, a: int, b: int, marks: str = ",;:()") -> bool:
        """Whether a punctuation mark lies between tokens a and b."""
        return any(self.tokens[i].text in marks for i in range(a, b))

    def _run(self) -> None:
        active: Mark | None = None
        for k, item in enumerate(self.items):
            roles = item.roles
            if active and self._ends(active, k):
                active = None
            if "answer" in roles:
                self._mark_back(k, "answer", elliptic=True)
                active = None
                continue
            if self.outer[k].aside:
                self.forward[k] = active
                continue
            if (
                "presupposes" in roles
                and (active or _forward(roles) in (None, "hypothetical"))
                and self._definite(item.last)
            ):
                active = ("presupposed", item)
                continue
            sought = active is not None and active[0] == "hypothetical"
            if "reply_no" in roles and self._answers(k) and self._mark_back(k, "outcome_no" if sought else "negation"):
                continue
            outcome = next((kind for kind in ("outcome_no", "outcome_yes") if kind in roles), None)
            if outcome and not self._supposed(active) and self._mark_back(k, outcome, elliptic=True):
                continue
            if "negator" in roles and self._stands_alone(k) and self._mark_back(k, "negation", elliptic=True):
                continue
            backward = next(
                (kind for kind in ("negation", "hedge", "hypothetical") if kind + "_backward" in roles), None
            )
            forward = _forward(roles)
            if forward == "negation" and roles.get("operator") == "lack" and active and self._undoes(active, k):
                active = None  # "never is the chest without ..."
                continue
            if forward == "hedge" and not backward and self._closes_clause(k) and self._mark_back(k, "hedge"):
                continue
            if backward == "hypothetical":
                self._mark_back(k, backward)
            elif backward:
                ahead = self._concept_follows(k)
                if not (ahead and (forward or self._after_colon(k))) and self._mark_back(k, backward):
                    continue
                hedged = k + 1 < len(self.items) and "hedge_forward" in self.items[k + 1].roles
                if not forward and ((ahead and not hedged) or self._opens(k) or self._inverts(k)):
                    forward = backward
            if (
                forward
                and not (active and active[0] == "hypothetical")
                and not (active and active[0] == "negation" and forward == "hedge")
            ):
                active = (forward, item)
                continue
            if roles.get("change") == "resolved" and "terminator" not in roles:
                self._mark_back(
                    k, "negation" if active and active[0] == "hypothetical" else "outcome_no", elliptic=True
                )
            self.forward[k] = active

    def _definite(self, at: int) -> bool:
        """Whether what begins at a token is taken to be there: "the effusion", "this known effusion"."""
        return at < len(self.tokens) and self.tokens[at].text in _DEFINITE

    def _closes_clause(self, k: int) -> bool:
        """Whether nothing follows the cue at item k that it could act on: "an effusion, possibly"."""
        last = self.items[k].last
        return k > 0 and (last == len(self.tokens) or self.tokens[last].text in _MARKS)

    def _supposed(self, active: Mark | None) -> bool:
        """Whether a condition is in force: "whether it is real"."""
        return active is not None and self.tokens[active[1].first].text in _CONDITIONS

    def _undoes(self, cue: Mark, k: int) -> bool:
        """Whether a cue turns an absence at item k into a presence: "not without", but neither "no ..., without" nor
        "does not show an opacity, suggesting the absence of"."""
        if any("concept" in item.roles for item in self.items[max(k - MAX_WALK, 0) : k] if item.first >= cue[1].last):
            return False
        if self.punctuation(cue[1].last, min(self.items[k].first, cue[1].last + MAX_WALK), ","):
            return False
        return (
            cue[0] == "negation"
            and "negator" in cue[1].roles
            and cue[1].roles.get("operator") != "lack"
            and ("reply_no" not in cue[1].roles or self.tokens[cue[1].first - 1].text in _INSIDE)
        )

    def _opens(self, k: int) -> bool:
        """Whether the cue at item k heads a list: "The following are absent: ..."."""
        last = self.items[k].last
        return last < len(self.tokens) and self.tokens[last].text == ":"

    def _inverts(self, k: int) -> bool:
        """Whether the subject of the cue at item k comes behind it: "what is not seen is an effusion"."""
        after = self.items[k + 1].roles if k + 1 < len(self.items) else {}
        return "verb" in after and not any("concept" in item.roles for item in self.items[max(k - MAX_WALK, 0) : k])

    def _stands_alone(self, k: int) -> bool:
        """Whether "not" at item k denies just that its subject is there: "a nodule is not", "is not a finding"."""
        first, last = self.items[k].first, self.items[k].last
        if k == 0 or self.tokens[first - 1].text not in _AUXILIARY:
            return False
        for token in self.tokens[last : last + _FEW]:
            if token.text in _MARKS:
                return True
            if token.text not in self.lexicon.existence and token.text not in self.lexicon.function:
                return False
        return len(self.tokens) <= last + _FEW

    def _turns(self, cue: Term, k: int) -> bool:
        """Whether a new clause begins at item k: "no nodule is seen and an effusion is present"."""
        item = self.items[k]
        if "verb" not in (self.items[k + 1].roles if k + 1 < len(self.items) else ()) or "concept" not in item.roles:
            return False
        between = [other for other in self.items[max(k - MAX_WALK, 0) : k] if other.first >= cue.last]
        said = next((n for n, other in enumerate(between) if "concept" in other.roles), len(between))
        spoken = next((n for n in range(said, len(between)) if "verb" in between[n].roles), None)
        if spoken is None:
            return False
        start = between[spoken].last
        return any(self.tokens[i].text in (",", "and") for i in range(start, item.first))

    def _after_colon(self, k: int) -> bool:
        """Whether a colon lies between the cue at item k and the mention before it."""
        for j in range(k - 1, max(k - MAX_WALK, -1), -1):
            if self.punctuation(self.items[j].last, self.items[j + 1].first, ":"):
                return True
            if "concept" in self.items[j].roles:
                return False
        return False

    def _answers(self, k: int) -> bool:
        """Whether "no" at item k answers what it follows: "Effusion: no", "Effusion (no)", "Effusion? No"."""
        first, last = self.items[k].first, self.items[k].last
        before = self.tokens[first - 1].text if first else ""
        if last < len(self.tokens) and self.tokens[last].text not in ",;:()?-":
            return False
        return before in (":", ",", "-", "?", "(", "☑") or (k > 0 and self.items[k - 1].last == first)

    def _ends(self, active: Mark, k: int) -> bool:
        item, previous = self.items[k], self.items[k - 1]
        if self.adversative and any(i in self.adversative for i in range(previous.last, item.last)):
            return True
        if "seeming" in active[1].roles and "verb" in item.roles:  # "what looks like an effusion is ..."
            return True
        until = active[1].roles.get("until")
        if until and any(self.tokens[i].text == until for i in range(previous.last, item.first)):
            return True
        comma = self.punctuation(previous.last, item.first, ",")
        if comma and "contrast" in active[1].roles and active[1].first == 0:
            return True
        if (active[0] == "negation" or not self._supposed(active)) and self._opens_clause(active[1], k):
            return True
        if active[0] == "hypothetical":
            if comma and self.tokens[active[1].first].text in _GRANTED:
                return True
            if self.tokens[item.first].text == "there" and self.tokens[item.first - 1].text == "and":
                return self.tokens[active[1].first].text not in _CONDITIONS
            return "terminator" in item.roles and item.roles.keys() & {"concept", "negation_forward"} != set()
        if "terminator" in item.roles:
            if self._goes_on(active[1], k) or item.first == active[1].last:  # "could be due to"
                return False
            inverted = item.first > 0 and self.tokens[item.first - 1].text in ("is", "was", "are", "were")
            return not (inverted and self.tokens[item.first].text in ("this", "it"))  # "in no way is this ..."
        if self._turns(active[1], k):
            return True
        if self.punctuation(previous.last, item.first, ":") and not self._heads(active[1], k):
            return True
        # "No pneumothorax, small left effusion": a degree after a comma opens a new assertion, unless a list goes on.
        opens = item.roles.get("severity") in _SMALL or "change" in item.roles
        if active[0] == "negation" and opens and self.punctuation(previous.last, item.first, ","):
            return not any(
                self.tokens[i].text in ("or", "nor") for i in range(item.last, min(item.last + 60, len(self.tokens)))
            )
        return False

    def _opens_clause(self, cue: Term, k: int) -> bool:
        """Whether item k is in a clause of its own: "since there is no effusion, the cause must be ...". What is denied
        in a list begins with "the" only if its first part does."""
        first, last = max(self.items[k - 1].last, cue.last), self.items[k].first
        comma = next((i for i in range(first, last) if self.tokens[i].text == ","), last)
        if comma == last or self._definite(cue.last):
            return False
        ruled = self.tokens[0].text in _SUBORDINATE and "verb" in (
            self.items[k + 1].roles if k + 1 < len(self.items) else ()
        )
        return ruled or self.tokens[comma + 1].text in _OPENING

    def _goes_on(self, cue: Term, k: int) -> bool:
        """Whether item k ends nothing: "nothing on this film", "neither view shows"."""
        first = self.items[k].first
        if self.tokens[first].text in ("this", "it") and self.tokens[first - 1].text in _INSIDE:
            return not self.punctuation(cue.last, first, ",")
        if self.items[k].roles.get("operator") != "show" or "negator" not in cue.roles:
            return False
        between = self.items[max(k - MAX_WALK, 0) : k]
        return not any(_SPENT & item.roles.keys() for item in between if item.first >= cue.last)

    def _links(self, j: int) -> bool:
        """Whether item j ties a predicate to what stands before it: "an effusion which is not", "but is not"."""
        return self.tokens[self.items[j].first].text in ("which", "but")

    def _heads(self, cue: Term, k: int) -> bool:
        """Whether the cue heads what comes after the colon before item k: "Negative for: effusion"."""
        for i in range(cue.last, self.items[k].first):
            word = self.tokens[i].text
            if word == ":":
                return True
            if word not in self.lexicon.function and word not in self.lexicon.existence:
                return False
        return False

    def _concept_follows(self, k: int) -> bool:
        end = self.items[k].last
        for item in self.items[k + 1 : k + 6]:
            if self.punctuation(end, item.first) or "terminator" in item.roles or "verb" in item.roles:
                return False
            if "concept" in item.roles:
                return True
            end = item.last
        return False

    def _mark_back(self, k: int, kind: str, elliptic: bool = False) -> bool:
        """Marks the coordinated mentions before the cue at item k; false when there is none. What is elliptic reaches
        over "but": "looks like an effusion but is not"."""
        found = False
        first = self.items[k].first
        last = self.items[k - 1].last if k else 0
        bare = "reply_no" in self.items[k].roles and last == first and "concept" in self.items[k - 1].roles
        inside = bare or (first > 0 and self.tokens[first - 1].text == "(")
        for j in range(k - 1, max(k - MAX_WALK, -1), -1):
            roles = self.items[j].roles
            if found and inside:  # "nodule (possible)" is about the nodule
                break
            if "concept" in roles:
                found = True
                if kind == "hypothetical" and self.items[j].first and self._definite(self.items[j].first - 1):
                    continue  # "the effusion is caused by ..." is about this one
                if kind == "answer":
                    self.answers[j] = self.items[k]
                else:
                    self.backward[j] = (kind, self.items[k])
            elif "anatomy" in roles and "quality" in self.items[k].roles and not found:
                break  # "heart within normal limits" is about the heart
            elif not found and (kind == "answer" or (j == k - 1 and kind != "hypothetical" and self._links(j))):
                continue
            elif ("terminator" in roles and not (elliptic and not found and j >= k - 2)) or (found and _closes(roles)):
                break
        return found


def _closes(roles: Roles) -> bool:
    """Whether an item ends the list of mentions that a backward cue acts on."""
    return not roles.keys().isdisjoint(("verb", "explains", "operator")) or any(kind.endswith("ward") for kind in roles)


def _forward(roles: Roles) -> str | None:
    for kind, name in _FORWARD:
        if name in roles:
            return kind
    return None
