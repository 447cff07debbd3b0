# The tables of bench/report: one section per run, as text or as Markdown.
# Input: marks.tsv titles.tsv about.tsv compare.tsv summary.tsv values.tsv events.tsv raw.tsv, told apart by name.

BEGIN { FS = "\t" }

function file(name) { return index(FILENAME, name) > 0 }

/^#/ { next }
file("marks.tsv")   { marks++; mark_name[marks] = $1; mark_title[marks] = $2; mark[marks] = $3; next }
file("titles.tsv")  { ops++; op[ops] = $1; title[$1] = $2; next }
file("about.tsv")   { if ($1 == "accelerator" && $2 ~ /wall clock: KVM/) kvm = 1; abouts++; about_name[abouts] = $1; about[abouts] = $2; next }
file("compare.tsv") { for (i = 3; i <= 9; i++) c[$1, $2, i] = $i; known[$1, $2] = 1; next }
file("summary.tsv") { for (i = 4; i <= 9; i++) s[$1, $2, $3, i] = $i; next }
file("values.tsv")  { value[$1, $2, $3] = $4; next }
file("events.tsv")  { event[$1, $2, $4] = $6; median_event[$1, $2, $4] = $5; event_seen[$4] = 1; next }
file("raw.tsv")     {
	if ($4 == "S") per[$5] = $6
	if (($4 == "M" || $4 == "F") && !(($2, $5) in why)) {
		why[$2, $5] = ($4 == "M" ? "missing" : "FAILED") ": " $6
		verdict[$1, $2, $5] = verdict["", $2, $5] = $4 == "M" ? "missing" : "FAILED"
		whys++
		why_kind[whys] = $2; why_name[whys] = $5; why_text[whys] = why[$2, $5]
	}
	next
}

# ---- text ------------------------------------------------------------------------------------------

# 1234567 -> 1,234,567; fractions and "-" as they are.
function commas(v,   sign, whole, rest, out) {
	if (v == "" || v == "-") return "-"
	if (v !~ /^-?[0-9.]+$/) return v
	if (v ~ /\./) {
		if (v + 0 >= 100) v = sprintf("%.0f", v); else return v
	}
	if (v + 0 >= 10000000) return sprintf("%.2f M", v / 1000000)
	out = ""
	whole = v
	while (length(whole) > 3) {
		out = "," substr(whole, length(whole) - 2) out
		whole = substr(whole, 1, length(whole) - 3)
	}
	return whole out
}

function pad(v, width,   n) {
	n = width < 0 ? -width : width
	while (length(v) < n)
		v = width < 0 ? v " " : " " v
	return v
}

# One row of cells[1..n]; the first column is text, the rest are numbers.
function row(n, first_width, width,   i, line) {
	if (markdown) {
		line = "|"
		for (i = 1; i <= n; i++)
			line = line " " cells[i] " |"
	} else {
		line = "  " pad(cells[1], -first_width)
		for (i = 2; i <= n; i++)
			line = line " " pad(cells[i], width)
		sub(/ +$/, "", line)
	}
	print line
}

function heading(text) {
	print ""
	print markdown ? "## " text "\n" : text "\n"
}

function rule(n,   i, line) {
	if (!markdown) return
	line = "|---|"
	for (i = 2; i <= n; i++) line = line "---:|"
	print line
}

# What stands in a cell for a figure that is not there.
function cell(mode, name, i, kind) {
	if ((mode, name) in known && c[mode, name, i] != "-") return commas(c[mode, name, i])
	sub(/\.net$/, "", name)
	if ((mode, kind, name) in verdict) return verdict[mode, kind, name]
	return "-"
}

function ratio_text(mode, name,   lo, hi) {
	if (!((mode, name) in known) || c[mode, name, 7] == "-") return "-"
	return short(c[mode, name, 7])
}

function short(v) { return v >= 100 ? sprintf("%.0f", v) : v >= 10 ? sprintf("%.1f", v) : sprintf("%.2f", v) }

function range_text(mode, name) {
	if (!((mode, name) in known) || c[mode, name, 8] == "-") return "-"
	return short(c[mode, name, 8]) "-" short(c[mode, name, 9])
}

# ---- sections --------------------------------------------------------------------------------------

function head_section(   i) {
	if (!markdown) print "Jiffy" (linux ? " beside Linux" : "") ", the suite of bench/suite"
	for (i = 1; i <= abouts; i++)
		if (markdown)
			print "- " about_name[i] ": " (about[i] == "" ? "(none)" : about[i])
		else
			print "  " pad(about_name[i], -22) " " (about[i] == "" ? "(none)" : about[i])
	if (markdown) return
	print ""
	print "Each figure is of one operation, system call included; nothing is subtracted. Beside it stands the control: two"
	print "time stamps around nothing, or around the nearest thing that is not the operation."
}

function marks_section(   i, name, mode, linux_v, jiffy_v, v) {
	heading("Marks of issue 4, in guest instructions" (linux ? ", Linux with mitigations off" : ""))
	cells[1] = "operation"; cells[2] = "Linux"; cells[3] = "Jiffy"; cells[4] = "at most"; cells[5] = "verdict"
	row(5, 50, 13); rule(5)
	for (i = 1; i <= marks; i++) {
		name = mark_name[i]
		mode = name == "boot.wall" ? "wall" : "icount"
		cells[1] = mark_title[i] (name == "boot.wall" ? ", ms" : "")
		cells[2] = linux ? cell(mode, name, 3, "linux") : "-"
		cells[3] = cell(mode, name, 6, "jiffy")
		v = (mode, name) in known ? c[mode, name, 6] : "-"
		cells[4] = commas(mark[i])
		if (cells[2] == "-" && cells[3] == "-") continue
		if (v == "-") cells[5] = cells[3] == "-" ? "not measured" : cells[3]
		else cells[5] = v + 0 <= mark[i] + 0 ? "reached" : sprintf("missed, +%.0f %%", 100 * (v / mark[i] - 1))
		row(5, 50, 13)
	}
}

# The operations whose marks are missed, one a line: for scripts.
function missed_section(   i, name) {
	for (i = 1; i <= marks; i++) {
		name = mark_name[i]
		if (name != "boot.wall" && ("icount", name) in known && c["icount", name, 6] != "-" && c["icount", name, 6] + 0 > mark[i] + 0) {
			sub(/\.net$/, "", name)
			print name
		}
	}
}

function figures_section(mode,   i, name, n) {
	heading(mode == "icount" ? "Guest instructions (-icount shift=0; repeatable; median)" : \
		"Time-stamp ticks, wall clock (least of the rounds' medians; below a ratio of 1.5 is noise)")
	n = linux ? 8 : 7
	cells[1] = "operation"
	if (linux) {
		cells[2] = "Linux"; cells[3] = "stripped"; cells[4] = "defaults"; cells[5] = "Jiffy"; cells[6] = "Linux/Jiffy"
		cells[7] = "by round"; cells[8] = "control"
	} else {
		cells[2] = "min"; cells[3] = "median"; cells[4] = "p99"; cells[5] = "max"; cells[6] = "samples"
		cells[7] = "control"
	}
	row(n, 46, 12); rule(n)
	for (i = 1; i <= ops; i++) {
		name = op[i]
		if (!((mode, name) in known) && !((mode, "jiffy", name) in verdict)) continue
		if (mode == "wall" && name ~ /\.net$/) continue
		if (mode == "icount" && name == "boot.wall") continue
		cells[1] = title[name]
		if (linux) {
			cells[2] = cell(mode, name, 3, "linux"); cells[3] = cell(mode, name, 4, "linux-stripped")
			cells[4] = cell(mode, name, 5, "linux-default"); cells[5] = cell(mode, name, 6, "jiffy")
			cells[6] = ratio_text(mode, name); cells[7] = range_text(mode, name)
			cells[8] = commas(s[mode, "jiffy", name, 9])
		} else if ((mode, "jiffy", name, 6) in s) {
			cells[2] = commas(s[mode, "jiffy", name, 5]); cells[3] = commas(s[mode, "jiffy", name, 6])
			cells[4] = commas(s[mode, "jiffy", name, 7]); cells[5] = commas(s[mode, "jiffy", name, 8])
			cells[6] = commas(s[mode, "jiffy", name, 4])
			cells[7] = commas(s[mode, "jiffy", name, 9])
		} else {
			cells[2] = cells[3] = cells[4] = cells[5] = cells[6] = cells[7] = "-"
			cells[3] = cell(mode, name, 6, "jiffy")
		}
		row(n, 46, 12)
	}
	if (mode == "wall" && kvm && (mode, "jiffy", "switch.kthread", 6) in s) {
		print ""
		print "These ticks are silicon's. A switch between kernel threads takes " s[mode, "jiffy", "switch.kthread", 6] \
			": the target of 304 is " (s[mode, "jiffy", "switch.kthread", 6] <= 304 ? "reached" : "missed") ", the limit of 500 " \
			(s[mode, "jiffy", "switch.kthread", 6] <= 500 ? "kept" : "EXCEEDED") "."
	}
	if (mode == "icount" && (mode, "jiffy", "boot.first_instruction") in value) {
		print ""
		print "Boot to the first instruction of the first program, guest instructions: " \
			(linux ? "Linux " commas(value[mode, "linux", "boot.first_instruction"]) ", " : "") "Jiffy " \
			commas(value[mode, "jiffy", "boot.first_instruction"]) ". Not like for like: two kernels of very different size."
		print "Memory in use then, of 2,097,152 KiB: " \
			(linux ? "Linux " commas(2097152 - value[mode, "linux", "memory.free"]) " KiB, " : "") "Jiffy " \
			commas(2097152 - value[mode, "jiffy", "memory.free"]) " KiB, the kernel and its tables included."
	}
}

# In the clock of the machine that ran this kernel.
function nanoseconds(ticks, kind,   rate) {
	rate = value["wall", kind, "ticks_per_ms"]
	return rate && ticks != "" ? commas(sprintf("%.0f", ticks * 1000000 / rate)) : "-"
}

# The wall clock's quantiles in nanoseconds, of both kernels.
function ns_section(   i, j, k, n, name, kinds, kind) {
	heading("Nanoseconds by the wall clock: operations, least, median, 99th of 100, most")
	n = split(linux ? "linux jiffy" : "jiffy", kinds, " ")
	cells[1] = "operation"
	for (k = 1; k <= n; k++) {
		cells[5 * k - 3] = (linux ? (kinds[k] == "linux" ? "Linux " : "Jiffy ") : "") "n"; cells[5 * k - 2] = "min"
		cells[5 * k - 1] = "median"; cells[5 * k] = "p99"; cells[5 * k + 1] = "max"
	}
	row(5 * n + 1, 46, 11); rule(5 * n + 1)
	for (i = 1; i <= ops; i++) {
		name = op[i]
		if (!(("wall", "jiffy", name, 6) in s) && !(("wall", "linux", name, 6) in s)) continue
		cells[1] = title[name]
		for (k = 1; k <= n; k++) {
			kind = kinds[k]
			cells[5 * k - 3] = commas(s["wall", kind, name, 4])
			for (j = 5; j <= 8; j++)
				cells[5 * k - 7 + j] = nanoseconds(s["wall", kind, name, j], kind)
		}
		row(5 * n + 1, 46, 11)
	}
}

function events_section(   i, k, kinds, names, n, j, any, label) {
	# On a terminal the dearest; the rest stand in the saved page.
	n = split(markdown ? "cr3 invlpg fpu_save fpu_load wrmsr locked smap fence iret rep" : "cr3 invlpg fpu_save wrmsr locked rep", names, " ")
	for (i in event_seen) any = 1
	if (!any) return
	heading("Dear events per operation, which -icount counts as one instruction each (" (linux ? "Linux / Jiffy, " : "") "means)")
	cells[1] = "operation"
	for (j = 1; j <= n; j++) cells[j + 1] = names[j]
	row(n + 1, 46, 13); rule(n + 1)
	for (i = 1; i <= ops; i++) {
		if (op[i] ~ /\.net$/) continue
		k = 0
		cells[1] = title[op[i]]
		for (j = 1; j <= n; j++) {
			cells[j + 1] = (linux ? mean("linux", op[i], names[j]) " / " : "") mean("jiffy", op[i], names[j])
			if (cells[j + 1] ~ /[1-9]/) k = 1
		}
		if (k) row(n + 1, 46, 13)
	}
	print ""
	print "cr3: writes to CR3; fpu: xsave, xrstor and their kin; locked: lock prefix, or xchg with memory; smap: stac, clac;"
	print "rep: iterations of repeated string instructions (a page of 4 KiB is 512, with one more to end)."
}

function mean(kind, name, e,   v) {
	if (!((kind, name, e) in event)) return "0"
	v = event[kind, name, e] / (per[name] ? per[name] : 1)
	return v >= 1000 ? commas(sprintf("%.0f", v)) : v >= 100 ? sprintf("%.0f", v) : v == int(v) ? v "" : sprintf("%.2f", v)
}

function missing_section(   i, done) {
	if (!whys) return
	heading("Missing or failed")
	for (i = 1; i <= whys; i++)
		print (markdown ? "- " : "  ") why_kind[i] ", " why_name[i] ": " why_text[i]
}

END {
	if (section == "head") head_section()
	else if (section == "marks") marks_section()
	else if (section == "missed") missed_section()
	else if (section == "icount" || section == "wall") {
		for (k in known) { split(k, x, SUBSEP); if (x[1] == section) { figures_section(section); break } }
	}
	else if (section == "ns") {
		for (k in known) { split(k, x, SUBSEP); if (x[1] == "wall") { ns_section(); break } }
	}
	else if (section == "events") events_section()
	else if (section == "missing") missing_section()
}
