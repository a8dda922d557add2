"""Which addresses a provider may have: the public ones, whatever they are dressed as, and what the operator allows."""

from ipaddress import ip_address

import pytest

from app.providers.addresses import AddressPolicy, AddressRefusal, is_public
from app.providers.outbound import check_base_url
from tests.providers.conftest import NameService

NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "192.0.2.1", "203.0.113.1",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1", "::10.0.0.1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
    "2001:0:7f00:1::1",
]  # fmt: skip
ARE_PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_of_nobody_else_s_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ARE_PUBLIC)
def test_an_address_of_the_open_network_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def rule_of(url: str, *allowed: str) -> str | None:
    try:
        AddressPolicy.of(allowed).check_form(url)
    except AddressRefusal as refusal:
        return refusal.rule
    return None


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "https://", "https:///v1", "ftp://a.example", "file:///etc/passwd", "//a.example",
        "https://a b.example",
        "https://user@a.example", "https://user:pw@a.example", "https://a.example?x=1", "https://a.example#x",
        "https://a.example:99999", "https://a.example:0", "https://a.example\\@b.example", "https://ⓛocalhost",
        "https://[::1", "https://a%2eexample", "https://-a.example", "https://a..example",
        f"https://{'a' * 500}.example",
        "https://a.example/\x00", "https://a.example\r\nX: y", "javascript:alert(1)", "https://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    assert rule_of(url) == "url_form"


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_literal_address_is_judged_without_a_name_service(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert rule_of(f"https://{host}:8443/v1") == "private_address"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:11434/v1", "127.0.0.1"),
        ("http://[::1]:11434/v1", "::1"),
        ("http://10.1.2.3", "10.0.0.0/8"),
        ("https://10.1.2.3", "10.0.0.0/8"),
        ("http://[::ffff:10.1.2.3]", "10.0.0.0/8"),
        ("http://localhost:8000", "localhost"),
        ("http://Ollama.LAN.:11434", "ollama.lan"),
    ],
)
def test_what_the_operator_allows_may_be_private_and_plain_http(url: str, allowed: str) -> None:
    assert rule_of(url, allowed) is None
    assert rule_of(url) in ("https_required", "private_address")


async def saved_rule(url: str, names: NameService | None, *allowed: str) -> str | None:
    try:
        await check_base_url(url, AddressPolicy.of(allowed), names)
    except AddressRefusal as refusal:
        return refusal.rule
    return None


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_that_leads_inside_is_refused_when_it_is_saved(names: NameService, address: str) -> None:
    names.known = {"a.example": ["93.184.216.34", address]}
    assert await saved_rule("https://a.example/v1", names) == "private_address"


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "localhost."])
async def test_odd_spellings_of_this_machine_are_refused(host: str) -> None:
    """By the machine's own name service, which reads them all."""
    assert await saved_rule(f"https://{host}/v1", None) in {"private_address", "unresolvable"}


async def test_a_name_may_lead_into_a_network_that_is_allowed(names: NameService) -> None:
    names.address = "10.0.0.7"
    assert await saved_rule("https://a.example", names, "10.0.0.0/8") is None
    assert await saved_rule("http://a.example", names, "10.0.0.0/8") == "https_required"


async def test_a_name_that_is_allowed_needs_no_name_service(names: NameService) -> None:
    names.known = {"ollama.lan": []}
    assert await saved_rule("http://ollama.lan:11434", names, "ollama.lan") is None


def test_a_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(AddressRefusal) as refusal:
        AddressPolicy().check_form("https://user:geheim@a.example")
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize(
    ("host", "direct", "rule"),
    [
        ("models.example", "", None),
        ("models.example.", "", None),
        ("models.example", "models.example", "unresolvable"),
        ("127.1", "", "unresolvable"),
        ("0x7f000001", "", "unresolvable"),
        ("127.0.0.0x1", "", "unresolvable"),
        ("ollama", "", "unresolvable"),
    ],
)
async def test_behind_a_proxy_only_names_of_the_public_kind_may_be_unknown_here(
    names: NameService, monkeypatch: pytest.MonkeyPatch, host: str, direct: str, rule: str | None
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", direct)
    names.known = {host: []}
    assert await saved_rule(f"https://{host}/v1", names) == rule


async def test_behind_a_proxy_a_name_that_leads_inside_is_refused_all_the_same(
    names: NameService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    names.address = "10.0.0.7"
    assert await saved_rule("https://models.example/v1", names) == "private_address"
