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

# linux_fetch: makes sure that linux_kernel has something to say. False, with one line, if it cannot.
linux_fetch()
{
	[ -z "$(linux_kernel)" ] || return 0
	command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || {
		say "without Linux: there is no apt-get here to fetch $linux_package with"
		return 1
	}
	# The named package is empty and depends on the one of the current version.
	lf_real=$(linux_real_package)
	[ -n "$lf_real" ] || {
		say 'fetching fresh package lists'
		{ [ "$(id -u)" = 0 ] || sudo -n true; } 2>/dev/null &&
			$([ "$(id -u)" = 0 ] || echo sudo) apt-get update >/dev/null 2>&1 </dev/null || :
		lf_real=$(linux_real_package)
	}
	[ -n "$lf_real" ] || {
		say "without Linux: the package lists know no $linux_package"
		return 1
	}
	say "fetching $lf_real (unpacked into $linux_dir, not installed)"
	rm -rf "$linux_dir.new"
	mkdir -p "$linux_dir.new/deb"
	(cd "$linux_dir.new/deb" && apt-get download "$lf_real" >apt.log 2>&1 </dev/null) || {
		say "without Linux: $lf_real could not be fetched: $(tail -n 1 "$linux_dir.new/deb/apt.log")"
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

linux_real_package()
{
	apt-cache depends "$linux_package" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}
