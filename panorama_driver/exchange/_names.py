"""Pseudonyms for hosts, users and paths: the same name gets the same one everywhere, so that what belongs together
still does.

A name is first learned wherever a field says what it is (`hostname`, `user`, `submit_dir`, ...), and then replaced
wherever it stands: in fields, arguments, output, study.yml, journals. Beside what was learned, whatever looks like an
absolute path, a URL, a mail address, an IP address or an Internet name is replaced at sight.

    /home/ada/flow/run0001/out.h5     /home/user-5b0c.../p-77ab.../run0001/p-01c9....h5
    gsiftp://dtn4.example.org/data    gsiftp://host-8f3e....net-10aa.../data

Words that paths are made of everywhere (`home`, `scratch`, `bin`) stay, and so do the names of the workflow's own files
and transformations, which are exported anyway, and names that tell nobody from anybody (`localhost`, `root`).
"""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from ..events import Event
from . import _words as words
from ._key import Key

_LONGEST = 1024  # characters of a name
_KEPT, _SHORT = 1 << 16, 256  # texts remembered, and the longest of them [characters]
_QUOTED = re.compile(r"%[0-9A-Fa-f]{2}")
_ASCII = "".join(map(chr, range(128)))


class Pseudonyms:
    """Learns names, then replaces them.

    Parameters
    ----------
    key : Key
        Makes the pseudonyms.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self._hosts: set[str] = set()
        self._users: set[str] = set()
        self._places: set[str] = set()
        self._public: set[str] = set()
        self._short_seen = functools.lru_cache(_KEPT)(self._look_into)
        self._forget()

    def _forget(self) -> None:
        """What was made of texts is wrong as soon as another name is known."""
        self._patterns: tuple[re.Pattern[str], re.Pattern[str] | None] | None = None
        self._short_text = functools.lru_cache(_KEPT)(self._unquoted)

    # Learning

    def host(self, name: str) -> None:
        """Learn a host, by its full name and by the first part of it."""
        self._learn(self._hosts, name)
        if not words.is_address(name):
            self._learn(self._hosts, name.partition(".")[0])

    def user(self, name: str) -> None:
        """Learn a user."""
        self._learn(self._users, name)

    def place(self, path: str) -> None:
        """Learn a path: where in a text one with blanks in it ends could not be told."""
        self._seen(path)
        if path.startswith("/") and "\n" not in path and not re.fullmatch(rf"/{words.IN_PATH}*", path):
            self._learn(self._places, path, folded=False)

    def learn(self, event: Event) -> None:
        """Learn all names that an event tells."""
        self.look(event.fields)

    def look(self, value: Any, key: str = "") -> None:
        """Learn all names in what JSON can hold; `key` says what the value is."""
        match value:
            case dict():
                for name, each in value.items():
                    self.look(each, _named(value, name))
            case list():
                for each in value:
                    self.look(each, key)
            case str():
                self._seen(value)
                self._look_at(key, value)

    def _look_at(self, key: str, value: str) -> None:
        if key in words.PUBLIC_KEYS:
            self._public.add(value[:_LONGEST])
        elif words.HOST_KEYS.fullmatch(key) and words.HOST_NAME.fullmatch(value):
            self.host(value)
        elif words.USER_KEYS.fullmatch(key) and "=" not in value:
            self.user(value.partition("@")[0])
        elif words.PATH_KEYS.fullmatch(key):
            self.place(value)

    def _seen(self, text: str) -> None:
        (self._short_seen if len(text) <= _SHORT else self._look_into)(text)

    def _look_into(self, text: str) -> None:
        if "%" in text:
            text = unquote(text, errors="replace")
        for found in words.HOME.finditer(text) if "/" in text else ():
            self.user(found[1])
        for found in words.URL.finditer(text) if "://" in text and "\n" not in text else ():
            self.host(found["host"].strip("[]"))

    def _learn(self, known: set[str], name: str, *, folded: bool = True) -> None:
        name = name.strip().casefold() if folded else name
        if name not in known and name not in words.NOBODY and len(name) < _LONGEST:
            known.add(name)
            self._forget()

    # Replacing

    def text(self, text: str) -> str:
        """A text with pseudonyms."""
        return (self._short_text if len(text) <= _SHORT else self._unquoted)(text)

    def event(self, event: Event) -> Event:
        """The event with pseudonyms."""
        job = None if event.job_id is None else self._known(event.job_id)
        return msgspec.structs.replace(event, job_id=job, fields=self.value(event.fields))

    def value(self, value: Any, key: str = "", depth: int = 0) -> Any:
        """What JSON can hold, with pseudonyms; `key` says what the value is."""
        match value:
            case dict():
                named = {name: _named(value, name) for name in value}
                return {self._field(n, depth): self.value(each, named[n], depth + 1) for n, each in value.items()}
            case list():
                return [self.value(each, key, depth + 1) for each in value]
            case str():
                return self._of(key, value)
            case int() if not isinstance(value, bool) and words.USER_KEYS.fullmatch(key):
                return int(self._key.digest("user", str(value), 7), 16)
        return value

    def _of(self, key: str, value: str) -> str:
        if words.HOST_KEYS.fullmatch(key) and words.HOST_NAME.fullmatch(value):
            return self._host(value)
        if words.USER_KEYS.fullmatch(key) and "@" not in value and "/" not in value:
            return self._user(value)
        if words.PATH_KEYS.fullmatch(key) and value.startswith("/") and "\n" not in value:
            return self._path(value)
        return self.text(value)

    def _field(self, name: str, depth: int) -> str:
        """A field's own name is no host's, though it may read like one (`vm`); below it may stand one a host."""
        return self.text(name) if depth or re.search(r"[/@.]", name) else name

    def _unquoted(self, text: str) -> str:
        """As `_replaced`, of a text whose line ends and the like are in percents, as monitord writes it."""
        if words.OPAQUE.fullmatch(text):
            return f"left-out-{self._key.digest('opaque', text, 32)}"
        quoted = {unquote(found, "latin-1") for found in _QUOTED.findall(text)}
        if not quoted:
            return self._replaced(text)
        plain = unquote(text, errors="replace")
        new = self._replaced(plain)
        safe = "".join(c for c in _ASCII if c not in quoted)
        return text if new == plain else quote(new, safe, errors="surrogatepass")

    def _replaced(self, text: str) -> str:
        sights, _ = self._ready()
        parts, at = [], 0
        for found in sights.finditer(text):
            parts += [self._known(text[at : found.start()]), self._seen_as(found.lastgroup or "", found[0])]
            at = found.end()
        return "".join([*parts, self._known(text[at:])])

    def _ready(self) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
        if self._patterns is None:
            places = "|".join(re.escape(p) for p in sorted(self._places, key=len, reverse=True))
            sights = rf"(?P<place>{places})|{words.SIGHTS}" if places else words.SIGHTS
            names = words.any_of((self._hosts | self._users) - words.COMMON)
            self._patterns = re.compile(sights), re.compile(names, re.IGNORECASE) if names else None
        return self._patterns

    def _seen_as(self, what: str, text: str) -> str:
        bare = text.rstrip(".") if what != "place" else text
        rest = text[len(bare) :]
        match what:
            case "url":
                return self._url(bare) + rest
            case "mail":
                return self._mail(bare) + rest
            case "ip":
                return self._host(bare) if words.is_address(bare) else text
            case "fqdn":
                return self._host(bare)
        return self._path(bare) + rest

    def _known(self, text: str) -> str:
        """A text in which names that were learned are replaced, and nothing else."""
        _, names = self._ready()
        return names.sub(lambda found: self._name(found[0]), text) if names and text else text

    def _name(self, name: str) -> str:
        return self._user(name) if name.casefold() in self._users else self._host(name)

    def _host(self, name: str) -> str:
        """`node1` and `node1.example.org` begin alike, and have different ends."""
        folded = name.casefold()
        if folded in words.NOBODY:
            return name
        first, dot, domain = (folded, "", "") if words.is_address(folded) else folded.partition(".")
        told = f"host-{self._key.digest('host', first)}"
        return f"{told}.net-{self._key.digest('net', domain)}" if dot else told

    def _user(self, name: str) -> str:
        folded = name.strip().casefold()
        return name if folded in words.NOBODY else f"user-{self._key.digest('user', folded)}"

    def _mail(self, text: str) -> str:
        left, _, right = text.partition("@")
        return f"{left if words.SLOT.fullmatch(left) else self._user(left)}@{self._host(right)}"

    def _url(self, text: str) -> str:
        found = words.URL.fullmatch(text)
        if found is None:
            return self._known(text)
        user = "" if found["user"] is None else f"{self._user(found['user'])}@"
        host = self._host(found["host"].strip("[]"))
        where = f"{found['scheme']}{user}{host}{found['port'] or ''}"
        return f"{where}{self._path(found['path'])}{self._known(found['rest'])}"

    def _path(self, path: str) -> str:
        if words.SYSTEM.match(path):
            return self._known(path)
        return "/".join(map(self._part, path.split("/")))

    def _part(self, part: str) -> str:
        folded = part.casefold()
        if folded in self._users or folded in self._hosts:
            return self._name(part)
        if folded in words.PLAIN or words.COUNTED.fullmatch(part) or part in self._public:
            return self._known(part)
        suffix = words.SUFFIX.search(part)
        return f"p-{self._key.digest('path', part)}{self._known(suffix[0]) if suffix else ''}"


def _named(fields: dict[str, Any], name: str) -> str:
    """What a field is; metadata have it as the value of another field."""
    key = fields.get("key") if name == "value" else None
    return key if isinstance(key, str) else name
