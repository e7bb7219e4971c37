"""header.py -- beck.h as data: what the manual pages and the check of the interface are made from

Parses the house's own header, not C: a comment stands above its declaration or ends its line, a
section begins with its title between ----, and perhaps a comment on the next line about all of it;
a blank line ends what belongs together.
What it does not understand stops it, so that nothing is left out in silence."""
import re
import sys

TOKEN = re.compile(r"""
    (?P<comment>/\*.*?\*/)
  | (?P<define>\#define[ ]+\w+ (?:\\\n|/\*.*?\*/|[^\n])*)
  | (?P<other>\#(?:\\\n|[^\n])*|extern[ ]"C"[ ]\{|\})
  | (?P<body>(?:typedef[ ])?(?:struct|enum)[ ]\w+[ ]\{.*?\n\}[^;]*;)
  | (?P<callback>typedef[ ][^;{]*\(\*\w+\)[^;]*;)
  | (?P<opaque>typedef[ ]struct[ ]\w+[ ]\w+;)
  | (?P<function>BECK_API[ ][^;]*;)
  | (?P<space>\s+)""", re.S | re.X)
COMMENT = re.compile(r"/\*.*?\*/", re.S)


class Item:
    """One declaration. kind: define, enum, struct, opaque, callback or function."""

    def __init__(self, kind, name, code, text, section):
        self.kind, self.name, self.code, self.text = kind, name, code, text
        self.section, self.members = section, []  # members: (name, type or value, text)


def words(comment):
    """The lines of a comment without its decoration."""
    lines = [re.sub(r"^ *\*? ?", "", line, count=1) for line in comment[2:-2].strip().split("\n")]
    return "\n".join(lines).strip()


def flat(code):
    return re.sub(r"\s+", " ", COMMENT.sub("", code)).strip()


def heading(comment):
    """The title of a comment that opens a section, or None."""
    found = re.fullmatch(r"---- (.*) ----", words(comment))
    return found and found.group(1)


def shape(code):
    """A prototype without the names of its parameters, which no compiled program knows."""
    return re.sub(r"(\w[\w ]*[ *])\w+(?=[,)])", lambda m: m.group(1).rstrip(), flat(code))


def declarations(body, end, whole):
    """(code, text) of each member; its comment stands above it or behind it on its line. A member
    may have several lines: it is there when it looks like `whole`."""
    found, pending, code = [], "", ""
    for token in re.finditer(r"/\*.*?\*/|\n|#[^\n]*|[^%s\n/]+%s?" % (end, end), body, re.S):
        part = token.group()
        if part.startswith("/*"):
            alone = body[:token.start()].rstrip(" ").endswith("\n")
            if alone or not found:
                pending = words(part)
            else:
                found[-1][1] = words(part)
        elif part.strip() and not part.startswith("#") and "BECK_STATUS_LIST" not in part:
            code = flat(code + " " + part)
            if re.fullmatch(whole, code):
                found.append([code, pending])
                pending = code = ""
    if code:
        sys.exit("beck.h: not understood: " + code)
    return found


def struct_members(body):
    for code, text in declarations(body, ";", ".*;"):
        plain = re.fullmatch(r"(.*?[ *])(\w+)((?:\[\w+\])?);", code)
        call = re.fullmatch(r"(.*)\(\*(\w+)\)(\(.*\));", code)
        if call:
            yield call.group(2), shape("%s(*)%s" % (call.group(1), call.group(3))), text
        elif plain:
            yield plain.group(2), plain.group(1).strip() + plain.group(3), text
        else:
            sys.exit("beck.h: not understood: " + code)


def enum_members(body):
    for code, text in declarations(body, ",", r"\w+ = -?\w+,?"):
        name, value = code.rstrip(",").split(" = ")
        yield name, value, text


def statuses(source):
    """(name, value, text, class) of each status code."""
    rows = re.findall(r'X\((\w+), (-?\d+), "([^"]*)",\s*(\w+)\)', source)
    return [("BECK_" + name, value, text, "BECK_CLASS_" + kind) for name, value, text, kind in rows]


def name_of(kind, code):
    if kind == "function":
        return re.search(r"(\w+)\(", code).group(1)
    if kind == "callback":
        return re.search(r"\(\*(\w+)\)", code).group(1)
    if kind == "opaque":
        return re.search(r"(\w+);", code).group(1)
    return re.search(r"(?:#define|struct|enum) (\w+)", code).group(1)


class Header:
    """intro: the manual's first words; sections: {title: text}; items in the header's order."""

    def __init__(self, path):
        self.source = open(path, encoding="utf-8").read()
        self.intro, self.sections, self.items = "", {}, []
        self.statuses = statuses(self.source)
        self.parse()

    def of(self, *kinds):
        return [item for item in self.items if item.kind in kinds]

    def parse(self):
        at, pending, section, opened = 0, "", None, False
        while at < len(self.source):
            token = TOKEN.match(self.source, at)
            if token is None:
                sys.exit("beck.h:%d: not understood: %s" % (
                    self.source.count("\n", 0, at) + 1, self.source[at:].split("\n")[0]))
            kind, code, at = token.lastgroup, token.group(), token.end()
            if kind == "comment":
                title = heading(code)
                if title:
                    section, pending, opened = title, "", True
                    self.sections[section] = ""
                    continue
                if opened:
                    self.sections[section] = words(code)
                elif not self.intro:
                    self.intro = words(code)
                elif self.items and "\n" not in self.source[self.items_end:token.start()]:
                    self.items[-1].text = self.items[-1].text or words(code)
                else:
                    pending = words(code)
            elif kind == "space":
                pending = "" if code.count("\n") > 1 else pending
                opened = opened and code.count("\n") == 1
                continue
            elif kind != "other" and section is not None:
                self.add(kind, code, pending, section)
                pending, self.items_end = "", token.end()
            opened = False

    def add(self, kind, code, text, section):
        if kind == "define":
            comment = COMMENT.search(code)
            text = words(comment.group()) if comment else text
        body = kind == "body"
        kind = ("enum" if re.match(r"(typedef )?enum", code) else "struct") if body else kind
        item = Item(kind, name_of(kind, code), code, text, section)
        if body:
            inside = code[code.index("{") + 1:code.rindex("}")]
            item.members = list((enum_members if kind == "enum" else struct_members)(inside))
        if item.name == "beck_status":
            item.members = [(name, value, text) for name, value, text, _ in self.statuses]
        self.items.append(item)
