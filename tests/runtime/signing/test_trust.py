from __future__ import annotations

import json
from pathlib import Path

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.signing.trust import Trust, Trusted

from ... import signing


@pytest.fixture
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """The configuration files of the user and of the machine, which do not exist yet."""
    for name in ("TCJA_PUBLIC_KEYS", "TCJA_REQUIRE_SIGNATURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "machine"))
    found = {name: tmp_path / name / "tcja-deploy" / "config.json" for name in ("user", "machine")}
    for name, file in found.items():
        file.parent.mkdir(parents=True)
        signing.ssh_key(file.parent, name)
    return found


def says(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(fields))


def names(trusted: Trusted) -> list[str]:
    return [key.path.name for key in trusted.keys]


def test_nobody_is_trusted_and_nothing_required_unless_said(places):
    found = Trusted.of(Trust())
    assert not found
    assert not found.required


def test_the_first_place_that_names_keys_names_all_and_any_place_requires(places, tmp_path, monkeypatch):
    says(places["machine"], public_keys=["machine.pub"], require_signature=True)
    assert names(Trusted.of(Trust())) == ["machine.pub"]
    says(places["user"], public_keys=["user.pub"], require_signature=False)
    found = Trusted.of(Trust())
    assert (names(found), found.required, found.why) == (["user.pub"], True, str(places["machine"]))
    _, environment = signing.ssh_key(tmp_path, "environment")
    monkeypatch.setenv("TCJA_PUBLIC_KEYS", f"{environment}:{places['user'].with_name('user.pub')}")
    monkeypatch.setenv("TCJA_REQUIRE_SIGNATURE", "1")
    found = Trusted.of(Trust())
    assert (names(found), found.why) == (["environment.pub", "user.pub"], "TCJA_REQUIRE_SIGNATURE")
    _, given = signing.ssh_key(tmp_path, "given")
    found = Trusted.of(Trust(public_keys=[given]))
    assert (names(found), found.why) == (["given.pub"], "`public_keys`")
    found = Trusted.of(Trust(require_signature=True))
    assert (names(found), found.why) == (["environment.pub", "user.pub"], "`require_signature`")


def test_the_current_folder_has_no_configuration(places, monkeypatch):
    says(places["user"], require_signature=True)
    monkeypatch.chdir(places["user"].parents[1])
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    monkeypatch.setenv("XDG_CONFIG_DIRS", ".:user:")
    monkeypatch.setenv("HOME", str(places["user"].parent))
    assert not Trusted.of(Trust()).required


def test_identities_of_sigstore_stand_in_a_configuration_file(places):
    says(places["user"], identities=[{"identity": "a@b.example", "provider": "https://accounts.example"}])
    assert [str(each) for each in Trusted.of(Trust()).identities] == ["a@b.example of https://accounts.example"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"require_signatures": true}', "config.json: require_signatures is not known to this version; correct it"),
        ('{"require_signature": "yes"}', 'require_signature is "yes", and must be true or false'),
        ("[]", "must be an object; correct it, or remove it"),
        ("{", "line 1 is not JSON; correct it, or remove it"),
        (
            '{"public_keys": ["none.pub"]}',
            "none.pub cannot be read or written: No such file or directory; {file} names it",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_and_not_passed_over(places, content, said):
    places["machine"].write_text(content)
    with pytest.raises(BadInput) as refused:
        Trusted.of(Trust())
    assert said.replace("{file}", str(places["machine"])) in str(refused.value)


def test_a_wrong_variable_is_refused(places, monkeypatch):
    monkeypatch.setenv("TCJA_REQUIRE_SIGNATURE", "yes")
    with pytest.raises(BadInput, match="TCJA_REQUIRE_SIGNATURE is 'yes', and must be 1 or 0"):
        Trusted.of(Trust())


def test_a_key_that_cannot_be_read_is_said_with_the_place_that_names_it(places, tmp_path, monkeypatch):
    with pytest.raises(
        BadInput, match="none cannot be read or written: No such file or directory; `public_keys` names"
    ):
        Trusted.of(Trust(public_keys=(tmp_path / "none",)))
    monkeypatch.setenv("TCJA_PUBLIC_KEYS", str(tmp_path))
    with pytest.raises(BadInput, match="is a folder, not a file; TCJA_PUBLIC_KEYS names it"):
        Trusted.of(Trust())


@pytest.mark.parametrize("name", ["config.json", "machine.pub"])
def test_what_everybody_may_write_does_not_say_whom_to_trust(places, name):
    says(places["machine"], public_keys=["machine.pub"])
    places["machine"].with_name(name).chmod(0o666)
    with pytest.raises(BadInput, match=f"{name} says whom you trust, and all may write it"):
        Trusted.of(Trust())


def test_a_user_without_a_home_has_the_machines_configuration(places, monkeypatch):
    says(places["machine"], require_signature=True)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    assert Trusted.of(Trust()).required
