# Ports for engines that need more than the one they are given. Sourced by their `serve`.

# take_port NAME [OFFSET...]: sets the variable NAME to a port that nobody listens at, and that no other engine or test on this machine is
# given while the process lives; so are the ports at each OFFSET from it. Those above 32767 are given to outgoing connections, and those
# below 20000 to tests.
take_port() {
    local name=$1 locks=${TMPDIR:-/tmp}/tributary-test-ports candidate offset lock
    shift
    mkdir -p "$locks"
    while candidate=$((20000 + RANDOM % 12000)); do
        for offset in 0 "$@"; do
            # The lock ends with the last process that has the file open.
            exec {lock}>"$locks/$((candidate + offset))"
            flock --nonblock "$lock" || continue 2
            ! (exec 3<>"/dev/tcp/127.0.0.1/$((candidate + offset))") 2>/dev/null || continue 2
        done
        printf -v "$name" %s "$candidate"
        return
    done
}
