"""Host names of Stack Exchange sites, derived from the name of a dump's archive or folder."""

# sites with a domain of their own; all others are below stackexchange.com
DOMAINS = {
    "stackoverflow": "stackoverflow.com",
    "serverfault": "serverfault.com",
    "superuser": "superuser.com",
    "askubuntu": "askubuntu.com",
    "stackapps": "stackapps.com",
    "mathoverflow": "mathoverflow.net",
    "meta": "meta.stackexchange.com",
    "stackexchange": "stackexchange.com",
}
LANGUAGES = ("es", "ja", "pt", "ru")  # of Stack Overflow, each a subdomain
TOP_LEVEL = (".com", ".net")


def host(name: str) -> str:
    """The host of a site: `stackoverflow` → stackoverflow.com, `beer` → beer.stackexchange.com.

    Meta sites are named `beer.meta` or `meta.beer`, localized sites `pt.stackoverflow`. The meta site of a site with
    its own domain is meta.DOMAIN; others are NAME.meta.stackexchange.com. A name with a top-level domain is a host.
    """
    parts = name.lower().removesuffix(".stackexchange").split(".")
    if name.lower().endswith(TOP_LEVEL) or parts == [""]:
        return name.lower()
    is_meta = "meta" in parts and len(parts) > 1
    language = parts[0] if parts[0] in LANGUAGES and "stackoverflow" in parts else ""
    rest = [part for part in parts if not (is_meta and part == "meta") and part != language]
    if len(rest) != 1:
        return name
    site = rest[0]
    if site in DOMAINS:
        return ".".join(filter(None, [language, "meta" if is_meta else "", DOMAINS[site]]))
    return f"{site}.meta.stackexchange.com" if is_meta else f"{site}.stackexchange.com"
