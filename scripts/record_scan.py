#!/usr/bin/env python3
"""Judges what sslyze and testssl.sh said of a TLS listener: `record_scan.py FOLDER BROKER`.

A finding is anything that sslyze names against Mozilla's intermediate recommendations or that testssl.sh
calls worse than informational. Those of a certificate that was made for the run, which no CA has signed, are
set apart; they are in the result, too.
"""

import json
import pathlib
import re
import sys

from record import text, write
from record_run import commit

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What testssl.sh says of the certificate, of its CA, and of the domain's name.
OF_THE_CERTIFICATE = {
    "cert_chain_of_trust",
    "cert_caIssuers",
    "cert_ocspURL",
    "cert_crlDistributionPoints",
    "cert_notRevoked",
    "cert_revocation",
    "cert_mustStapleExtension",
    "cert_eTLS",
    "cert_trust",
    "cert_validityPeriod",
    "cert_expirationStatus",
    "certificate_transparency",
    "DNS_CAArecord",
    "OCSP_stapling",
    "issuer",
}
FINE = {"OK", "INFO", "DEBUG"}
# What the tool itself could not do.
NOT_TRIED = "WARN"


def sslyze(folder, kind):
    """The findings against Mozilla's recommendations, and whether the scan was whole."""
    said = (folder / f"sslyze-{kind}.txt").read_text()
    compliance = said.partition("COMPLIANCE")[2]
    findings = re.findall(r"^\s*\* ([\w-]+): (.*)$", compliance, re.M)
    report = json.loads((folder / f"sslyze-{kind}.json").read_text())
    result = report["server_scan_results"][0]
    whole = result["scan_status"] == "COMPLETED" and "COMPLIANCE" in said
    return {
        "findings": [f"{name}: {what}" for name, what in findings if name != "certificate_path_validation"],
        "of_the_certificate": [f"{name}: {what}" for name, what in findings if name == "certificate_path_validation"],
        "whole": whole and "Not vulnerable to Heartbleed" in said,
    }


def testssl(folder, kind):
    entries = json.loads((folder / f"testssl-{kind}.json").read_text())
    findings, of_the_certificate, not_tried, grade = [], [], [], None
    for entry in entries:
        name = entry["id"].split(" ")[0]
        if name == "overall_grade":
            grade = entry["finding"]
        if entry["severity"] in FINE:
            continue
        line = f"{entry['id']} ({entry['severity']}): {entry['finding']}"
        if entry["severity"] == NOT_TRIED:
            not_tried.append(line)
            continue
        (of_the_certificate if name in OF_THE_CERTIFICATE else findings).append(line)
    ids = {entry["id"].split(" ")[0] for entry in entries}
    return {
        "findings": findings,
        "of_the_certificate": of_the_certificate,
        "not_tried": not_tried,
        "grade": grade,
        # What is offered was found, and the last of the vulnerabilities was tried.
        "whole": {"TLS1_2", "TLS1_3", "heartbleed", "ROBOT", "LUCKY13", "RC4"} <= ids,
        "checks": len(entries),
    }


def main():
    folder, broker = pathlib.Path(sys.argv[1]), sys.argv[2]
    measured = {"findings": 0, "whole": True}
    for kind in ("rsa", "ec"):
        for name, judge in (("sslyze", sslyze), ("testssl", testssl)):
            said = judge(folder, kind)
            measured[f"{name}_{kind}"] = said
            measured["findings"] += len(said["findings"])
            measured["whole"] = measured["whole"] and said["whole"]
            for line in said["findings"]:
                print(f"found by {name}, {kind}: {line}")
            for line in said.get("not_tried", []):
                print(f"not tried by {name}, {kind}: {line}")
            for line in said["of_the_certificate"]:
                print(f"of the certificate, by {name}, {kind}: {line}")
    measured["versions"] = {
        "broker": text(broker, "--version"),
        "openssl": text("openssl", "version"),
        "testssl": " ".join(re.findall(r"testssl(?:\.sh)? +([\d.]+\S*)", text("testssl", "--version"))[:1]),
    }
    limits = [("findings", "=", 0), ("whole", "=", True)]
    path = write(ROOT, "tls-scan", ["scripts/tls-scan.sh"], measured, limits, commit=commit(), folder="tls")
    verdicts = json.loads(path.read_text())["verdicts"]
    sys.exit(0 if all(verdict["ok"] for verdict in verdicts) else 1)


if __name__ == "__main__":
    main()
