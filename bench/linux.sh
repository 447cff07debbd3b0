# Sourced: Debian's own kernel, unpacked into build/linux/, never installed. Needs common.sh; $root is the
# working directory.
# shellcheck shell=sh

linux_package=linux-image-cloud-amd64
linux_dir=${JIFFY_LINUX_DIR:-build/linux}

# The kernel image; nothing if it is not there.
linux_kernel()
{
	find "$linux_dir/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1
}

# The named package is empty and depends on the one of the current version. False: lf_why says why.
linux_download()
{
	lf_real=$(apt-cache depends "$linux_package" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
	[ -n "$lf_real" ] || return 1
	say "fetching $lf_real (unpacked into $linux_dir, not installed)"
	rm -rf "$linux_dir.new"
	mkdir -p "$linux_dir.new/deb"
	(cd "$linux_dir.new/deb" && apt-get download "$lf_real" >apt.log 2>&1 </dev/null) || {
		lf_why="$lf_real could not be fetched: $(tail -n 1 "$linux_dir.new/deb/apt.log")"
		return 1
	}
}

linux_update()
{
	if [ "$(id -u)" = 0 ]; then
		apt-get update >/dev/null 2>&1 </dev/null || :
	else
		sudo -n apt-get update >/dev/null 2>&1 </dev/null || :
	fi
}

# linux_fetch: makes sure that linux_kernel has something to say. False, with one line, if it cannot.
linux_fetch()
{
	[ -z "$(linux_kernel)" ] || return 0
	command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || {
		say "without Linux: there is no apt-get here to fetch $linux_package with"
		return 1
	}
	lf_why="the package lists know no $linux_package"
	linux_download || {
		# Lists may be missing, or older than the archive.
		say 'fetching fresh package lists'
		linux_update
		linux_download
	} || {
		say "without Linux: $lf_why"
		return 1
	}
	dpkg-deb -x "$linux_dir.new"/deb/*.deb "$linux_dir.new/all" || {
		say "without Linux: $lf_real could not be unpacked"
		return 1
	}
	rm -rf "$linux_dir"
	mkdir -p "$linux_dir"
	mv "$linux_dir.new/all/boot" "$linux_dir/boot"
	rm -rf "$linux_dir.new"
}

# linux_symbols: the names of that kernel's functions, as nm writes them, in linux_dir/symbols. Debian's package has
# none; the kernel itself does, in /proc/kallsyms, and without KASLR they are those of every boot. Needs guest.sh.
linux_symbols()
{
	[ ! -s "$linux_dir/symbols" ] || return 0
	ls_dir=$(mktemp -d "${TMPDIR:-/tmp}/jiffy-symbols.XXXXXX")
	cat >"$ls_dir/init" <<'SYMBOLS'
#!/bin/sh
mount -t proc proc /proc
grep ' [tTwW] ' /proc/kallsyms
echo 'end of symbols'
poweroff -f
SYMBOLS
	chmod 755 "$ls_dir/init"
	tools/make -s build/initramfs.cpio >"$ls_dir/make.log" 2>&1 || die 125 'the image could not be made'
	tools/mkinitramfs --add "$ls_dir/more.cpio" "$ls_dir/init=/symbols"
	cat build/initramfs.cpio "$ls_dir/more.cpio" >"$ls_dir/image.cpio"
	say "reading the names of Linux's functions from its /proc/kallsyms"
	ls_command=$(tools/run-qemu --dry-run --io stream --scratch "$ls_dir/com2" --log "$ls_dir/log" --cpu "$guest_cpu" \
		--mem "$guest_mem" --kernel "$(linux_kernel)" --initrd "$ls_dir/image.cpio" \
		--append "$linux_base $linux_fair rdinit=/symbols")
	mkdir -p "$ls_dir/com2"
	timeout --foreground -k 3 240 sh -c "exec $ls_command" </dev/null 2>"$ls_dir/stderr" | tr -d '\r' >"$ls_dir/all" || :
	# Kernel and modules alone: what is below belongs to single CPUs, and is a number, not a place.
	if grep -q '^end of symbols' "$ls_dir/all"; then
		{
			sed -n 's/^\(.*\)\(ffffffff[0-9a-f]\{8\} [tTwW] [^ 	]*\).*/\2/p' "$ls_dir/all"
			echo 'ffffffffc0000000 t (a module)'
		} >"$linux_dir/symbols.new"
		mv "$linux_dir/symbols.new" "$linux_dir/symbols"
	fi
	rm -rf "$ls_dir"
	[ -s "$linux_dir/symbols" ] || {
		say "Linux did not tell the names of its functions"
		return 1
	}
}

# linux_module: the module of bench/module for that kernel, built with Debian's headers, which are unpacked
# beside it. False, with one line, if it cannot be had.
linux_module()
{
	[ ! -s "$linux_dir/kthread.ko" ] || return 0
	lm_release=$(basename "$(linux_kernel)" | sed 's/^vmlinuz-//')
	lm_common=$(printf '%s\n' "$lm_release" | sed 's/-[a-z]*-amd64$/-common/')
	lm_kbuild=linux-kbuild-$(printf '%s\n' "$lm_release" | cut -d . -f 1,2)
	lm_at=$(abs_path "$linux_dir/headers")
	lm_why=
	rm -rf "$lm_at"
	mkdir -p "$lm_at/deb" "$lm_at/module"
	cp bench/module/kthread.c bench/module/Kbuild "$lm_at/module"
	say "fetching linux-headers-$lm_release, to build the module of kernel threads"
	if ! (cd "$lm_at/deb" && apt-get download "linux-headers-$lm_release" "linux-headers-$lm_common" "$lm_kbuild" >apt.log 2>&1 </dev/null); then
		lm_why="could not be fetched"
	elif ! for lm_deb in "$lm_at"/deb/*.deb; do dpkg-deb -x "$lm_deb" "$lm_at" || break; done; then
		lm_why="could not be unpacked"
	else
		# The package's Makefile names its other half by the place where it would be installed.
		sed -i "s|include /usr/src|include $lm_at/usr/src|" "$lm_at/usr/src/linux-headers-$lm_release/Makefile"
		make -C "$lm_at/usr/src/linux-headers-$lm_release" M="$lm_at/module" modules >"$lm_at/make.log" 2>&1 ||
			lm_why="did not build (see $linux_dir/headers/make.log)"
	fi
	[ -z "$lm_why" ] || {
		say "without Linux's kernel threads: their module $lm_why"
		return 1
	}
	strip -g -o "$linux_dir/kthread.ko" "$lm_at/module/kthread.ko" && rm -rf "$lm_at"
}
