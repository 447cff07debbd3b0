# Sourced by ./jiffy: what each verb needs from Debian, and its installation. Needs common.sh.
# shellcheck shell=sh
#
# A need is THING:PACKAGE, where THING is a command, or a file if it starts with "/". Nothing is
# asked of the package system as long as every THING is there.

needs_build='gcc:gcc /usr/include/limits.h:libc6-dev make:make ld:binutils awk:mawk flock:util-linux'
needs_user='musl-gcc:musl-tools busybox:busybox-static'
needs_qemu='qemu-system-x86_64:qemu-system-x86'
needs_python='python3:python3'
needs_iso='grub-mkrescue:grub-common /usr/lib/grub/i386-pc/multiboot2.mod:grub-pc-bin
	/usr/lib/grub/x86_64-efi/multiboot2.mod:grub-efi-amd64-bin xorriso:xorriso
	mformat:mtools'
needs_test='clang:clang clang-format:clang-format expect:expect shellcheck:shellcheck
	/usr/include/cmocka.h:libcmocka-dev /usr/include/zlib.h:zlib1g-dev
	/usr/include/stdio.h:libc6-dev /usr/share/OVMF/OVMF_CODE.fd:ovmf
	stress-ng:stress-ng bochs-bin:bochs /usr/share/bochs/BIOS-bochs-latest:bochsbios
	/usr/share/doc/bochs-term:bochs-term
	/usr/share/vgabios/vgabios.bin:vgabios setarch:util-linux'
needs_model='spin:spin'
needs_plot='gnuplot:gnuplot-nox'
needs_mutate='python3:python3 git:git /usr/include/cmocka.h:libcmocka-dev /usr/include/zlib.h:zlib1g-dev'

# clang's sanitizers and libFuzzer, which Debian keeps apart from the compiler.
needs_fuzz='clang:clang /usr/lib/clang/14/lib/linux/libclang_rt.fuzzer-x86_64.a:libclang-rt-14-dev
	/usr/include/zlib.h:zlib1g-dev'

need_is_met()
{
	case $1 in
	/*) [ -e "$1" ] ;;
	busybox) busybox_path >/dev/null ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# Debian's statically linked busybox: a dynamic one does not run here.
busybox_path()
{
	for busybox_at in /usr/bin/busybox /bin/busybox "$(command -v busybox || :)"; do
		[ -f "$busybox_at" ] || continue
		if "$root/tools/check-elf" "$busybox_at" >/dev/null 2>&1; then
			echo "$busybox_at"
			return 0
		fi
	done
	return 1
}

# The packages for a list of needs that are not met, on one line.
missing_packages()
{
	missing=
	for need in "$@"; do
		if ! need_is_met "${need%%:*}"; then
			case " $missing " in
			*" ${need#*:} "*) ;;
			*) missing="$missing ${need#*:}" ;;
			esac
		fi
	done
	echo "${missing# }"
}

apt_install()
{
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif command -v sudo >/dev/null 2>&1; then
		as_root=sudo
	else
		die 125 "needs these packages, and can install them only as root or by sudo: $*"
	fi
	command -v apt-get >/dev/null 2>&1 ||
		die 125 "needs $* (names as in Debian), and there is no apt-get: please install them"
	say "installing $* (apt-get; log: build/apt.log)"
	mkdir -p "$root/build"
	# Lists may be missing or old: try with what is there, then with fresh ones.
	apt_try "$@" >"$root/build/apt.log" 2>&1 </dev/null && return 0
	say "fetching fresh package lists"
	$as_root apt-get update >>"$root/build/apt.log" 2>&1 </dev/null || :
	apt_try "$@" >>"$root/build/apt.log" 2>&1 </dev/null && return 0
	tail -n 5 "$root/build/apt.log" >&2
	die 125 "apt-get could not install $* (see build/apt.log)"
}

apt_try()
{
	$as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends "$@"
}

# need LIST...: makes sure of every need in the lists.
need()
{
	# shellcheck disable=SC2046,SC2048,SC2086 # lists of words
	set -- $(missing_packages $*)
	[ $# -eq 0 ] && return 0
	apt_install "$@"
}
