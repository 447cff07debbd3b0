# Sourced by ./jiffy and the tools: messages, paths, quoting. Needs: root (the tree's directory).
# shellcheck shell=sh

# Everything that is not a program's output goes to standard error.
say()
{
	printf 'jiffy: %s\n' "$*" >&2
}

# die STATUS MESSAGE
die()
{
	die_status=$1
	shift
	say "$*"
	exit "$die_status"
}

# The absolute form of a path that the user gave, relative to where he stands.
abs_path()
{
	case $1 in
	/*) printf '%s\n' "$1" ;;
	*) printf '%s\n' "$PWD/$1" ;;
	esac
}

# QEMU's option syntax: a comma in a value is written twice.
qemu_value()
{
	printf '%s\n' "$1" | sed 's/,/,,/g'
}

# One word for a POSIX shell.
shell_word()
{
	case $1 in
	'' | *[!A-Za-z0-9_./=:,+@%-]*)
		printf "'%s'" "$(printf '%s\n' "$1" | sed "s/'/'\\\\''/g")"
		;;
	*) printf '%s' "$1" ;;
	esac
}

# One word for the kernel's command line: in double quotes a backslash takes the next character as
# it is (lib/cmdline.c).
kernel_word()
{
	case $1 in
	'' | *[!A-Za-z0-9_./=:,+@%-]*)
		printf '"%s"' "$(printf '%s\n' "$1" | sed 's/["\\]/\\&/g')"
		;;
	*) printf '%s' "$1" ;;
	esac
}

kernel_words()
{
	kernel_words_sep=
	for kernel_words_w in "$@"; do
		printf '%s' "$kernel_words_sep"
		kernel_word "$kernel_words_w"
		kernel_words_sep=' '
	done
}

is_number()
{
	case $1 in
	'' | *[!0-9]*) return 1 ;;
	esac
	[ ${#1} -le 9 ]
}

# A memory size (512, 512M, 2G; a bare number is MiB) in MiB on standard output; false if malformed.
size_mib()
{
	case $1 in
	*[Kk]) is_number "${1%?}" && echo $((${1%?} / 1024)) ;;
	*[Mm]) is_number "${1%?}" && echo "${1%?}" ;;
	*[Gg]) is_number "${1%?}" && echo $((${1%?} * 1024)) ;;
	*) is_number "$1" && echo "$1" ;;
	esac
}

# Virtualisation by hardware is worth having only where it is real: a paravirtual KVM that emulates
# is a thousand times slower than QEMU's translator.
# ACCEL_ROOT is for tests: where /dev, /proc and /sys of another machine are.
accel_default()
{
	if [ -w "${ACCEL_ROOT-}/dev/kvm" ] && grep -qwE 'vmx|svm' "${ACCEL_ROOT-}/proc/cpuinfo" &&
		[ ! -d "${ACCEL_ROOT-}/sys/module/kvm_pvm" ]; then
		echo kvm
	else
		echo tcg
	fi
}
