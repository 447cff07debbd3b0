# Sourced by the test scripts: TAP lines. Needs tools/common.sh and a directory $tmp.
# shellcheck shell=sh

ok()
{
	printf 'ok - %s\n' "$*"
}

not_ok()
{
	printf 'not ok - %s\n' "$*"
}

# The lines on standard input, as explanation of the test before; at most $1 (30), the last ones.
explain()
{
	tr -d '\r' | tail -n "${1-30}" | sed 's/^/# | /'
}

# run_ok NAME COMMAND...: one test, that the command succeeds.
run_ok()
{
	run_ok_name=$1
	shift
	if "$@" >"$tmp/run_ok" 2>&1; then
		ok "$run_ok_name"
	else
		not_ok "$run_ok_name"
		explain 60 <"$tmp/run_ok"
	fi
}

# is NAME GOT WANTED
is()
{
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1"
		printf 'got:    %s\nwanted: %s\n' "$2" "$3" | explain
	fi
}

# matches NAME GOT PATTERN (extended regular expression)
matches()
{
	if printf '%s\n' "$2" | grep -Eq -e "$3"; then
		ok "$1"
	else
		not_ok "$1"
		printf 'got: %s\nwanted a match of: %s\n' "$2" "$3" | explain
	fi
}
