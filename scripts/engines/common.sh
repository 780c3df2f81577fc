# What the installers of engines share. Sourced by `scripts/install-engines`; `$target` is the engine's folder, `$log` its log.

repo=$(cd "$engines/../.." && pwd -P)
apt_updated=no

say() { printf '%s: %s\n' "${script:-install-engines}" "$*" >&2; }
fail() {
    say "$*"
    [ ! -s "${log:-}" ] || tail -n 15 "$log" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Runs an apt-get command line; if it fails, once more with fresh package lists.
with_fresh_lists() {
    "$@" >>"$log" 2>&1 && return
    [ "$apt_updated" = no ] || return 1
    say "apt-get update"
    as_root apt-get update >>"$log" 2>&1 || return 1
    apt_updated=yes
    "$@" >>"$log" 2>&1
}

apt_install() {
    have apt-get || fail "no apt-get here: install $* by hand"
    say "apt-get install $*"
    with_fresh_lists as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes \
        --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# Unpacks packages of the distribution below the engine's folder, without installing them.
unpack() {
    say "unpacking the distribution's packages $* into $target"
    (
        cd "$target"
        with_fresh_lists apt-get download "$@" && for package in *.deb; do
            dpkg-deb --extract "$package" . && rm -f "$package"
        done
    )
}

# Downloads jars and what they need into the engine's folder `libs`: group:artifact:version...
jars() {
    have mvn && have javac || apt_install maven default-jdk-headless || fail "no Java and no Maven here"
    say "Maven: $*"
    {
        echo '<project><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId>'
        echo '<version>1</version><packaging>pom</packaging><dependencies>'
        local artifact group name version
        for artifact in "$@"; do
            IFS=: read -r group name version <<<"$artifact"
            echo "<dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$version</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$target/pom.xml"
    mvn --quiet --batch-mode -Dmaven.repo.local="$repo/target/engines/maven" -f "$target/pom.xml" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$target/libs" >>"$log" 2>&1
}
