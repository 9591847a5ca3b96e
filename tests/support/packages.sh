#!/bin/sh
# packages.sh [build|dev|quick|all] - installs the Debian packages that are missing; as root, or with sudo.
# build: to build and try Tern; dev: to build all of it, with its tests; quick: to run them; all: and to fuzz.
# Installs nothing, and needs no network, when all are there. Starts no daemon.
set -eu
build="build-essential cmake ninja-build pkg-config libuv1-dev libc-ares-dev libyaml-dev liblua5.4-dev libsodium-dev libmicrohttpd-dev libjansson-dev libidn2-dev libxxhash-dev liblmdb-dev libseccomp-dev libssl-dev libcrypt-dev libexpat1-dev libzip-dev zlib1g-dev libpam0g-dev libpsl-dev libcurl4-openssl-dev libunistring-dev libcunit1-dev swaks libnet-ssleay-perl openssl python3 iproute2"
# Databases of the tables and logins.
dev="$build libsqlite3-dev libpq-dev libldap-dev"
all="$dev curl gsasl msmtp postfix dovecot-core dovecot-lmtpd knot strace lua5.4 git"
all="$all postgresql-15 slapd ldap-utils"
# Clients that submit mail; a proxy in front of it; users of whom the machine knows nothing.
all="$all mutt s-nail nodejs node-nodemailer"
all="$all haproxy libnss-wrapper libpam-wrapper libpam-modules libgnutls-dane0 libidn12"
# Other people's DKIM.
all="$all python3-dkim python3-nacl libopendkim11 libopendkim-dev libmail-dkim-perl libnet-dns-perl"
# XML by others: validates reports against their schema.
all="$all libxml2-utils"
# Other people's SPF, and their suite's form.
all="$all python3-spf python3-dnspython python3-yaml python3-authres libmail-authenticationresults-perl"
# Other people's DMARC, and the list of suffixes.
all="$all libopendmarc2 publicsuffix"
# Other people's end of a milter, milters, and what Sendmail needs.
all="$all miltertest opendkim libmilter1.0.1 libbsd0 m4 liblockfile1 libnsl2 libwrap0 libsasl2-2 libsasl2-modules"
# Other people's SRS.
all="$all postsrsd srs libmail-srs-perl"
case "${1:-all}" in build) want=$build ;; dev) want=$dev ;; quick) want=$all ;; *) want="$all clang libclang-rt-14-dev" ;; esac
missing=""
for p in $want; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing="$missing $p"
done
# Servers that cannot be installed beside Postfix, and one that wants a database: unpacked, for tests that run them by hand.
# A folder, a program in it, packages.
apart=/usr/local/lib/tern-tests
unpacked="exim4 usr/sbin/exim4 exim4-daemon-light
sendmail usr/libexec/sendmail/sendmail sendmail-bin sendmail-cf
opendmarc usr/sbin/opendmarc opendmarc"
case "${1:-all}" in build | dev) unpacked="" ;; esac
lacking=$(echo "$unpacked" | while read -r folder program packages; do
    [ -z "$folder" ] || [ -x "$apart/$folder/$program" ] || echo "$folder $packages"
done)
[ -n "$missing$lacking" ] || exit 0
echo "installing:$missing" $lacking
SUDO=""
[ "$(id -u)" = 0 ] || SUDO="sudo"
export DEBIAN_FRONTEND=noninteractive
# Packages of servers must not start them here.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | $SUDO tee /usr/sbin/policy-rc.d >/dev/null
    $SUDO chmod +x /usr/sbin/policy-rc.d
    trap '$SUDO rm -f /usr/sbin/policy-rc.d' EXIT
fi
$SUDO apt-get update -q
# shellcheck disable=SC2086
[ -z "$missing" ] || $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-unsafe-io $missing
echo "$lacking" | while read -r folder packages; do
    [ -n "$folder" ] || continue
    unpack=$(mktemp -d)
    # shellcheck disable=SC2086
    (cd "$unpack" && apt-get download -q $packages)
    $SUDO mkdir -p "$apart/$folder"
    for p in "$unpack"/*.deb; do $SUDO dpkg-deb -x "$p" "$apart/$folder"; done
    $SUDO chmod -R u-s,g-s "$apart/$folder"
    rm -r "$unpack"
done
