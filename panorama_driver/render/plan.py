"""plan.sh of a bundle: plans it, by hand or for the Ensemble Manager, and says so only when the plan is really there.

The manager takes any line with the word pegasus-run for success, whatever the exit status, and a directory without
braindump.yml keeps it in PLANNING for ever (manager.py of Pegasus 5.1). So that line comes last or not at all.
"""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from ..config import Monitoring
from .site import Site

SUBMIT_POINTER = "run/submitdir"
"""File of a bundle that names the submit directory of its last plan."""

CANCELLED = "run/cancelled"
"""File of a bundle that must not be planned any more."""

STEERED = "run/sites.yml"
"""File of a bundle that is planned with this site catalog in place of its own: see steer.py."""

_PORTS = {"amqp": 5672, "amqps": 5671}

_SCRIPT = r"""#!/bin/sh
# Plans this bundle: `./plan.sh`, or `pegasus-em submit ENSEMBLE.NAME ./plan.sh`.
# Its last line, for the Ensemble Manager, comes only if there is a plan; run/plan.log has the planner's words.
cd "$(dirname "$0")" || exit 1
PANORAMA_BUNDLE=$(pwd -P)
export PANORAMA_BUNDLE

fail() {
    echo "plan.sh: $1" | tee -a run/plan.log >&2
    exit 1
}

mkdir -p -m 700 run && : >run/plan.log || fail "cannot write in $PANORAMA_BUNDLE"

case $PANORAMA_BUNDLE in
*[!A-Za-z0-9_./+,:@%=-]*) fail "Pegasus cannot work in '$PANORAMA_BUNDLE'; use a path of letters, digits and _ . -" ;;
/tmp/*) fail "DAGMan refuses to run under /tmp, where $PANORAMA_BUNDLE is; use a directory elsewhere" ;;
esac
command -v pegasus-plan >/dev/null || fail "no pegasus-plan on PATH; install Pegasus 5.1"
[ ! -e run/cancelled ] || fail "this evaluation was cancelled"
rm -f run/submitdir

@UMASK@properties=run/properties.$$
sites=run/sites.$$.yml
trap 'rm -f "$properties" "$sites"' EXIT
cp pegasus.properties "$properties" || fail "pegasus.properties cannot be read"
if cp run/sites.yml "$sites" 2>/dev/null; then # hosts that are to be avoided; it may be gone in a moment
    echo "pegasus.catalog.site.file = $sites" >>"$properties"
fi
@BROKER@pegasus-plan --conf "$properties" --dir submit --sites @SITE@ --output-sites @OUTPUT@ @STAGING@\
    --cleanup @CLEANUP@ @CLUSTER@"$@" workflow.yml >>run/plan.log 2>&1 </dev/null
status=$?
submit=$(sed -n 's/^pegasus-run  *//p' run/plan.log | tail -n 1 | sed 's/ *$//')
grep -v pegasus-run run/plan.log
[ $status -eq 0 ] || fail "pegasus-plan failed with exit code $status"
[ ! -e run/cancelled ] || fail "this evaluation was cancelled"
[ -n "$submit" ] || fail "pegasus-plan named no submit directory"
grep -Eq '^wf_uuid: *"?[0-9a-fA-F-]{36}' "$submit/braindump.yml" || fail "$submit/braindump.yml names no workflow"
echo "$submit" >run/submitdir.new && mv run/submitdir.new run/submitdir || fail "run/submitdir cannot be written"
echo "pegasus-run  $submit"
"""

_BROKER = r"""credentials=$(python3 -c '
import netrc, os, re, sys
if os.stat(sys.argv[1]).st_mode & 0o077:
    sys.exit(sys.argv[1] + ": others can read it; chmod 600 it")
found = netrc.netrc(sys.argv[1]).authenticators(sys.argv[2])
if not all(re.fullmatch(r"[\w.~!$*+,;=-]+", part or "", re.ASCII) for part in (found[0], found[2])):
    sys.exit("monitord takes user and password as they are: letters, digits and .~!$*+,;=_- only")
print(found[0] + ":" + found[2])
' @FILE@ @HOST@) || fail "no user and password for @HOST@ in "@FILE@
echo "pegasus.catalog.workflow.amqp.url = @SCHEME@://$credentials@@REST@" >>"$properties"
"""


def plan_script(site: Site, monitoring: Monitoring | None, clustered: bool = False) -> str:
    """plan.sh for a site; with a broker it puts the credentials into a private copy of the properties."""
    notes = site.notes
    broker = _broker(monitoring) if monitoring is not None and monitoring.broker else ""
    words = {
        "@UMASK@": "umask 077 # the address of the broker, with its password, goes into the submit directory\n"
        if broker
        else "",
        "@BROKER@": broker,
        "@SITE@": shlex.quote(notes.execution),
        "@CLEANUP@": notes.cleanup,
        "@CLUSTER@": "--cluster label " if clustered else "",
        "@OUTPUT@": shlex.quote(notes.output_site),
        "@STAGING@": f"--staging-site {shlex.quote(f'{notes.execution}={notes.staging}')} " if notes.staging else "",
    }
    text = _SCRIPT
    for mark, value in words.items():
        text = text.replace(mark, value)
    return text


def _broker(monitoring: Monitoring) -> str:
    assert monitoring.broker is not None
    address = urlsplit(monitoring.broker)
    # monitord takes an address without a port for that of a host called USER:PASSWORD@HOST (event_output.py of 5.1)
    port = address.port or _PORTS[address.scheme]
    rest = f"{address.netloc.removesuffix(f':{address.port}')}:{port}{address.path}"
    words = {
        "@FILE@": shlex.quote(monitoring.credentials or ""),
        "@HOST@": shlex.quote(address.hostname or ""),
        "@SCHEME@": address.scheme,
        "@REST@": rest,
    }
    text = _BROKER
    for mark, value in words.items():
        text = text.replace(mark, value)
    return text
