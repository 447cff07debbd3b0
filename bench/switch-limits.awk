# The limits of ./jiffy bench switch. Input: name value unit, tabs between; output: name value unit limit verdict.
#
# A wake-up on another CPU has one mark, for the kernel's own (insns.wake) and for a futex from user to user mode.
#
# With -v silicon=1 the ticks come from real virtualisation. Then they are made into cycles of the core, by the
# clock that the native benchmark calibrated in the same run, and judged: at most 500, the target is 304.
# A target that is missed is no failure. Emulated ticks are no cycles, and are not judged.

BEGIN {
	FS = OFS = "\t"
	limit["insns.kthread.median"] = 60
	limit["insns.process.median"] = 300
	limit["insns.wake.both.median"] = 900
	limit["insns.futex_wake.both.median"] = 900
	limit["native.yield_switch.min"] = 60
	if (silicon) {
		limit["cycles.kthread.median"] = limit["cycles.kthread_space.median"] = 500
		target["cycles.kthread.median"] = target["cycles.kthread_space.median"] = 304
	}
}

function judge(name, value, unit,   v) {
	v = "-"
	if (name in limit)
		v = value + 0 <= limit[name] ? "pass" : "fail"
	if (name ~ /count$/ && name ~ /alone/)
		v = value == 0 ? "pass" : "fail"
	print name, value, unit, name in limit ? limit[name] : "-", v
	if (name in target)
		print name ".target", value, unit, target[name], value + 0 <= target[name] ? "pass" : "missed"
}

{ judge($1, $2, $3) }
$1 == "native.core_clock" { clock = $2 }
$1 ~ /^ticks\..*\.(min|median|p99|max)$/ { name[++n] = $1; ticks[n] = $2 }

END {
	for (i = 1; silicon && clock && i <= n; i++) {
		sub(/^ticks/, "cycles", name[i])
		judge(name[i], sprintf("%.0f", ticks[i] * clock), "cycles")
	}
}
