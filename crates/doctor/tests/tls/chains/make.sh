#!/bin/sh
# Makes the certificates of the fault lab (doctor.md §7), one fault each, with openssl 3. The tests take
# 2026-09-01 for today. Keys are thrown away: nothing here can be used for anything.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { # NAME KIND
	case $2 in
	rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/$1.key" 2>"$work/log" ;;
	rsa4096) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out "$work/$1.key" 2>"$work/log" ;;
	p256) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$1.key" 2>"$work/log" ;;
	p384) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$work/$1.key" 2>"$work/log" ;;
	ed25519) openssl genpkey -algorithm ED25519 -out "$work/$1.key" 2>"$work/log" ;;
	esac
}

# issue NAME ISSUER CN KIND DIGEST START END EXTENSIONS...; an issuer of - signs itself.
issue() {
	name=$1 issuer=$2 cn=$3 kind=$4 digest=$5 start=$6 end=$7
	shift 7
	key "$name" "$kind"
	: >"$work/index.txt"
	{
		printf '[ca]\ndefault_ca=this\n[this]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\npolicy=any\nunique_subject=no\n' \
			"$work/index.txt" "$work"
		printf '[any]\ncommonName=supplied\n[request]\ndistinguished_name=nothing\n[nothing]\n[extensions]\n'
		printf '%s\n' "subjectKeyIdentifier=hash" "$@"
	} >"$work/openssl.cnf"
	openssl req -new -key "$work/$name.key" -subj "/CN=$cn" -config "$work/openssl.cnf" -section request -out "$work/request.pem"
	case $issuer in
	-) set -- -selfsign -keyfile "$work/$name.key" ;;
	*) set -- -cert "$issuer.pem" -keyfile "$work/$issuer.key" ;;
	esac
	openssl ca -batch -notext -config "$work/openssl.cnf" -extensions extensions -md "$digest" \
		-startdate "$start" -enddate "$end" -in "$work/request.pem" -out "$name.pem" "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
}

authority="basicConstraints=critical,CA:TRUE"
signs="keyUsage=critical,keyCertSign,cRLSign"
server="extendedKeyUsage=serverAuth"
use="keyUsage=critical,digitalSignature,keyEncipherment"
hub="subjectAltName=DNS:hub.example"
old=20200101000000Z late=20370101000000Z
from=20260601000000Z to=20261201000000Z

issue root - "Lab root" rsa sha256 $old $late "$authority" "$signs"
issue intermediate root "Lab intermediate" rsa sha256 $old $late "$authority" "$signs"
issue intermediate-p384 root "Lab intermediate P-384" p384 sha256 $old $late "$authority" "$signs"
issue intermediate-old root "Lab intermediate of old" rsa sha256 $old 20260701000000Z "$authority" "$signs"
issue no-authority root "Lab no authority" rsa sha256 $old $late "basicConstraints=CA:FALSE" "$use"
issue root-4096 - "Lab root 4096" rsa4096 sha256 $old $late "$authority" "$signs"
issue impostor - "Lab root" rsa sha256 $old $late "$authority" "$signs"

issue leaf intermediate hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue expired intermediate hub.example rsa sha256 20250101000000Z 20250301000000Z "$hub" "$server" "$use"
issue early intermediate hub.example rsa sha256 20270101000000Z 20270401000000Z "$hub" "$server" "$use"
issue other intermediate other.example rsa sha256 $from $to "subjectAltName=DNS:other.example" "$server" "$use"
issue common-name intermediate hub.example rsa sha256 $from $to "subjectAltName=DNS:other.example" "$server" "$use"
issue no-names intermediate hub.example rsa sha256 $from $to "$server" "$use"
issue wildcard intermediate "*.example" rsa sha256 $from $to "subjectAltName=DNS:*.example" "$server" "$use"
issue address intermediate hub.example rsa sha256 $from $to "subjectAltName=DNS:hub.example,IP:192.168.1.5" "$server" "$use"
issue address-as-name intermediate hub.example rsa sha256 $from $to "subjectAltName=DNS:192.168.1.5" "$server" "$use"
issue alone - hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue p256 intermediate hub.example p256 sha256 $from $to "$hub" "$server" "$use"
issue below-p384 intermediate-p384 hub.example p256 sha256 $from $to "$hub" "$server" "$use"
issue rsa-below-p384 intermediate-p384 hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue below-p384-sha384 intermediate-p384 hub.example p256 sha384 $from $to "$hub" "$server" "$use"
issue sha384 intermediate hub.example rsa sha384 $from $to "$hub" "$server" "$use"
issue sha1 intermediate hub.example rsa sha1 $from $to "$hub" "$server" "$use"
issue client intermediate hub.example rsa sha256 $from $to "$hub" "extendedKeyUsage=clientAuth" "$use"
issue large intermediate hub.example rsa4096 sha256 $from $to "$hub" "$server" "$use"
issue below-old intermediate-old hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue below-no-authority no-authority hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue below-4096 root-4096 hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue below-root root hub.example rsa sha256 $from $to "$hub" "$server" "$use"
issue critical intermediate hub.example rsa sha256 $from $to "$hub" "$server" "$use" "1.2.3.4=critical,ASN1:UTF8String:odd"
issue named-issuer intermediate hub.example rsa sha256 $from $to "$hub" "$server" "$use" \
	"authorityInfoAccess=caIssuers;URI:http://ca.example/intermediate.crt"
issue ed25519 intermediate hub.example ed25519 sha256 $from $to "$hub" "$server" "keyUsage=critical,digitalSignature"

# With CLIENT_HELLO=target/debug/examples/client_hello the answers of servers with them are recorded, too.
if [ -n "${CLIENT_HELLO:-}" ]; then
	python3 ../answers/record.py "$work" "$CLIENT_HELLO"
fi
