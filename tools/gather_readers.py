"""Readers of gather_text.py: each turns one file of a package into plain text, paragraphs apart by blank lines."""
import gzip
import html.parser
import re
import subprocess
import xml.etree.ElementTree

MAN_SECTIONS_LEFT_OUT = {"COPYRIGHT", "COLOPHON", "REPORTING BUGS", "AUTHOR", "AUTHORS", "SEE ALSO", "HISTORY"}


def text_of(path):
    """The file as text, unzipped if need be. What is not UTF-8 becomes U+FFFD."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace")


def unwrapped(text):
    """One line a paragraph."""
    return "\n\n".join(" ".join(block.split()) for block in re.split(r"\n[ \t]*\n", text))


def man(path):
    """A manual page as `man` shows it on 80 columns, without headers, footers and what all pages repeat."""
    source = text_of(path)
    if source.startswith(".so ") or not source:
        return ""
    command = ["groff", "-Kutf8", "-t", "-man", "-Tutf8", "-rLL=80n", "-rHY=0", "-P-cbou"]
    page = subprocess.run(command, input=source.encode(), capture_output=True, check=False).stdout
    kept, keep = [], False  # the header comes before the first section
    for line in page.decode("utf-8", "replace").split("\n"):
        if re.fullmatch(r"[A-Z][A-Z0-9 ,/-]+", line):
            keep = line not in MAN_SECTIONS_LEFT_OUT
        is_footer = re.fullmatch(r"\S.*\s{3,}\S.*\s{3,}\S+", line) and kept
        if keep and not is_footer:
            kept.append(line)
    return "\n".join(kept)


class HtmlText(html.parser.HTMLParser):
    """Collects the text of a page; preformatted text keeps its lines."""
    BLOCKS = {"p", "li", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "div", "td", "section"}
    HIDDEN = {"script", "style", "nav", "header", "footer", "title", "table", "sup", "button"}
    HIDDEN_CLASSES = {"related", "sphinxsidebar", "navfooter", "navheader", "headerlink", "toc", "footer", "header",
                      "docnav", "nav-chapters"}
    VOID = {"br", "img", "hr", "input", "meta", "link", "col", "wbr"}

    def __init__(self):
        super().__init__()
        self.parts, self.hidden, self.pre = [], [], 0

    def handle_starttag(self, tag, attrs):
        classes = set((dict(attrs).get("class") or "").split())
        if tag in self.VOID:
            self.parts.append("\n" if tag == "br" and self.pre else " ")
            return
        if self.hidden or tag in self.HIDDEN or classes & self.HIDDEN_CLASSES:
            self.hidden.append(tag)
            return
        self.pre += tag == "pre"
        if tag in self.BLOCKS or tag == "pre":
            self.parts.append("\n\n")

    def handle_endtag(self, tag):
        if tag in self.hidden:
            while self.hidden.pop() != tag:
                pass
            return
        if not self.hidden:
            self.pre -= tag == "pre" and self.pre > 0
            if tag in self.BLOCKS or tag == "pre":
                self.parts.append("\n\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))


def html_page(path):
    parser = HtmlText()
    parser.feed(text_of(path))
    return re.sub(r"(?m)^ (?=\S)", "", "".join(parser.parts))


def dictionary(path):
    """The longer entries of a dictd dictionary: a heading at the margin, its article indented below."""
    entries = re.split(r"\n(?=\S)", text_of(path))
    for entry in entries:
        entry = re.sub(r"\[(?:1913 Webster|PJC|WordNet[^\]]*)[^\]]*\]|[{}]", "", entry)
        if len(entry) > 700:
            yield unwrapped(entry)


def strings(path):
    """Translatable strings of rule sets: _("...")."""
    found = re.findall(r'_\("((?:[^"\\]|\\.|"(?!\)))*)"\)', text_of(path), re.DOTALL)
    texts = [re.sub(r"\\\n\s*", " ", text).replace("\\n", "\n").replace('\\"', '"') for text in found]
    return "\n\n".join(unwrapped(text) for text in texts if len(text) > 150)


def wml(path):
    """What Wesnoth's campaigns tell and say: _ "..."."""
    found = re.findall(r'_\s*"((?:[^"]|"")*)"', text_of(path))
    texts = [re.sub(r"<[^>]*>", "", text).replace('""', '"') for text in found]
    return "\n\n".join(unwrapped(text) for text in texts if len(text) > 50)


def xml_descriptions(path):
    try:
        root = xml.etree.ElementTree.fromstring(text_of(path))
    except xml.etree.ElementTree.ParseError:
        return ""
    return "\n\n".join(unwrapped(node.text or "") for node in root.iter("_description"))


def code(path):
    """Source text without the notice of copyright that it begins with."""
    text = text_of(path)
    if re.search(r"[^\n]{400}", text[:20000]):
        return ""  # generated
    text = re.sub(r"\A\s*/\*.*?(?i:copyright|licen[cs]e).*?\*/", "", text, count=1, flags=re.DOTALL)
    lines = text.split("\n")
    end = next((i for i, line in enumerate(lines) if not line.startswith(("#", "//")) and line.strip()), 0)
    if re.search("copyright|licen[cs]e", "\n".join(lines[:end]), re.IGNORECASE):
        lines = lines[end:]
    return "\n".join(lines)


READERS = {"man": man, "html": html_page, "dictionary": dictionary, "strings": strings, "wml": wml,
           "xml": xml_descriptions, "code": code}
