# Sourced by the scripts of bench/: the suite (bench/suite) on one kernel in one machine, and its lines.
# Needs common.sh; $root is the working directory.
# shellcheck shell=sh
#
# Both kernels get the same machine, the same processor, memory and image; what differs is -kernel and
# -append. FACTS that the options stand for:
#   -erms   without it Linux clears a page by `rep stosb`, whose 4,096 iterations -icount would count
#   -la57   four levels of page tables for both

guest_cpu=max,-erms,-la57
guest_mem=2048
linux_base='console=ttyS0 quiet loglevel=0 panic=-1'
linux_fair='mitigations=off nokaslr nopti init_on_alloc=0 randomize_kstack_offset=off'
linux_stripped="$linux_fair audit=0 apparmor=0 lsm= psi=0 cgroup_disable=memory,cpu,cpuacct,io,pids numa_balancing=disable nowatchdog nosoftlockup schedstats=disable slab_nomerge=0 page_alloc.shuffle=0 ima=off noautogroup nohz=off tsc=reliable"
guest_kinds='jiffy linux linux-stripped linux-default'

linux_options()
{
	case $1 in
	linux) echo "$linux_fair" ;;
	linux-stripped) echo "$linux_stripped" ;;
	linux-default) echo '' ;;
	esac
}

# The image that both boot: the suite, what it executes, and the module if there is one.
guest_image()
{
	tools/make -s -j2 kernel build/bench/suite build/bench/suite-exit build/plugin/events.so build/plugin/where.so \
		>"$1/make.log" 2>&1 || { cat "$1/make.log" >&2; die 125 'the build failed'; }
	set -- "$1" "$PWD/build/bench/suite=/suite" "$PWD/build/bench/suite-exit=/suite-exit"
	[ ! -s "$linux_dir/kthread.ko" ] || set -- "$@" "$(abs_path "$linux_dir/kthread.ko")=/kthread.ko"
	gi_out=$1/suite.cpio
	shift
	tools/mkinitramfs --add "$gi_out" "$@" || die 125 'the image could not be made'
}

# guest_command KIND MODE DIR NAME...: the shell command of the machine. MODE: icount or wall. With guest_plugin
# set to the name of one (tools/plugin), it writes into DIR, to a file of that name.
guest_command()
{
	gc_kind=$1 gc_mode=$2 gc_dir=$3
	shift 3
	if [ "$gc_kind" = jiffy ]; then
		gc_kernel=${guest_kernel:-build/jiffy.elf}
		gc_append="log=e9 exit=debug stdio=stream init=/suite -- $*"
	else
		gc_kernel=$(linux_kernel)
		gc_append="$linux_base $(linux_options "$gc_kind") rdinit=/suite -- $*"
	fi
	set --
	[ "$gc_mode" != icount ] || set -- --icount
	mkdir -p "$gc_dir/com2"
	[ -z "${guest_plugin-}" ] ||
		set -- "$@" -- -plugin "build/plugin/$guest_plugin.so,out=$(qemu_value "$gc_dir/$guest_plugin")"
	tools/run-qemu --dry-run --io stream --scratch "$gc_dir/com2" --log "$gc_dir/log" --cpu "$guest_cpu" \
		--mem "$guest_mem" --kernel "$gc_kernel" --initrd "${guest_initrd:-$gc_dir/../suite.cpio}" \
		--append "$gc_append" "$@"
}

# guest_run KIND MODE SECONDS OUT DIR NAME...: runs these benchmarks (all, if none is named); OUT gets the
# suite's lines, and "V boot.wall NS ns": from the start of QEMU to the first line. DIR is scratch; its
# parent holds the image. A machine that hangs is killed; what it did not report is then an F line.
guest_run()
{
	gr_kind=$1 gr_mode=$2 gr_seconds=$3 gr_out=$4 gr_dir=$5
	shift 5
	mkdir -p "$gr_dir"
	gr_command=$(guest_command "$gr_kind" "$gr_mode" "$gr_dir" "$@")
	gr_dry=${gr_command%% *}
	[ -n "$gr_dry" ] || die 125 "no command for $gr_kind"
	mkdir -p "$gr_dir/com2" # the dry run removed it
	gr_start=$(date +%s%N)
	{
		gr_status=0
		timeout --foreground -k 3 "$gr_seconds" sh -c "exec $gr_command" </dev/null 2>"$gr_dir/stderr" || gr_status=$?
		echo "$gr_status" >"$gr_dir/status"
	} | {
		while IFS= read -r gr_line; do
			case $gr_line in
			*"B	"*)
				printf '%s\nB\tV\tboot.wall\t%s\tns\n' "$gr_line" $(($(date +%s%N) - gr_start))
				break
				;;
			esac
		done
		cat
	} | tr -d '\r' | sed -n 's/^.*\(B	[SMFV.].*\)$/\1/p; s/^B	\.$/&/p' >"$gr_out"
	guest_complete "$gr_out" "$(cat "$gr_dir/status")" "$@"
}

# What a machine did not get to is failed, not forgotten.
guest_complete()
{
	gc_out=$1 gc_status=$2
	shift 2
	! grep -q '^B	\.$' "$gc_out" || return 0
	case $gc_status in
	124 | 137) gc_why='the machine hung, and was killed' ;;
	*) gc_why="the machine ended early (status $gc_status)" ;;
	esac
	[ $# -gt 0 ] || set -- $(build/bench/suite --list)
	for gc_name in "$@"; do
		grep -q "^B	[SMF]	$gc_name	" "$gc_out" ||
			printf 'B\tF\t%s\t%s\n' "$gc_name" "$gc_why" >>"$gc_out"
	done
	return 0
}
