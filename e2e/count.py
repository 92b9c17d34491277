"""Adds up the tests that passed and failed in the log of one step of ./check: prints `PASSED FAILED`.

Knows the closing lines of cargo-nextest, of `cargo test` and of pytest.
"""

import re
import sys

log = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], errors="replace").read())
passed = failed = 0
for line in log.splitlines():
    if re.match(r"\s*Summary \[.*tests? run:", line) or re.match(r"test result: ", line):
        closing = line
    elif re.match(r"(=+ )?(\d+ (passed|failed|errors?|skipped|warnings?|deselected|xfailed|xpassed)(, )?)+ in [\d.]+s", line):
        closing = line
    else:
        continue
    passed += sum(int(n) for n in re.findall(r"(\d+) passed", closing))
    failed += sum(int(n) for n in re.findall(r"(\d+) (?:failed|timed out|errors?)", closing))
print(passed, failed)
