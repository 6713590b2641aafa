"""Asks for known weaknesses of the installed packages, with pip-audit.

    python tools/audit.py [--service pypi | osv] [--osv-url URL]    # `make audit` installs pip-audit before

The exit code is 0 if none is known, 1 if one is, and 3 if the service was not reached. A mirror of a package index that
has no advisories answers that nothing is known of any package. So the service is first asked for a release of which a
weakness is known: jinja2 2.10 (CVE-2019-10906). If it knows nothing of that, its answers say nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KNOWN, WEAKNESS = "jinja2==2.10", "CVE-2019-10906"
FOUND, NOT_REACHED = 1, 3
PROGRAM = Path(sys.prefix) / "audit" / "bin" / "pip-audit"
_TIMEOUT = 10  # seconds for an answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, print what is known, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    parser.add_argument("--osv-url", default="https://api.osv.dev/v1/query")
    args = parser.parse_args(arguments)
    service = ["--vulnerability-service", args.service, *(["--osv-url", args.osv_url] if args.service == "osv" else [])]
    if not any(WEAKNESS in each for each in weaknesses(asked([KNOWN], service)).get("jinja2", [])):
        print(f"skipped: no advisory service was reached; {args.service} does not know {WEAKNESS} of {KNOWN}")
        return NOT_REACHED
    packages = installed()
    answers = asked(packages, service)
    if answers is None:
        print(f"skipped: {args.service} knows {WEAKNESS}, and then did not answer for the installed packages")
        return NOT_REACHED
    found = weaknesses(answers)
    for name, each in found.items():
        print(f"{name}: {', '.join(each)}")
    unknown = [answer["name"] for answer in answers if "vulns" not in answer]
    print(f"{len(packages) - len(unknown)} packages were asked for, {len(found)} have known weaknesses")
    if unknown:
        print(f"{args.service} does not have {', '.join(unknown)}")
    return FOUND if found else 0


def installed() -> list[str]:
    """Return the installed packages of this Python, such as "numpy==2.4.6", without this project."""
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})  # not of the working folder
    found = {
        each.metadata["Name"]: each.version.partition("+")[0] for each in importlib.metadata.distributions(path=places)
    }
    return sorted(f"{name}=={version}" for name, version in found.items() if name != "tcja-deploy")


def asked(packages: Sequence[str], service: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return what pip-audit says of packages, a record each; None if the service did not answer.

    Args:
        packages: such as "numpy==2.4.6".
        service: the options of pip-audit that choose the service.
    """
    command = [str(PROGRAM), "--requirement", "/dev/stdin", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--timeout", str(_TIMEOUT), "--format", "json", *service]
    done = subprocess.run(command, input="\n".join(packages), capture_output=True, text=True, check=False)
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, LookupError):
        return None
    return answers


def weaknesses(answers: Sequence[Mapping[str, Any]] | None) -> dict[str, list[str]]:
    """Return the names of the weaknesses of each package that has any.

    Args:
        answers: what pip-audit says.
    """
    named = {
        answer["name"]: [" ".join([each["id"], *each["aliases"]]) for each in answer.get("vulns", ())]
        for answer in answers or ()
    }
    return {name: each for name, each in named.items() if each}


if __name__ == "__main__":
    sys.exit(main())
