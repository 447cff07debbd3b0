# syscall/table.tbl -> C: prototypes; and, where SYSCALL_TABLE is defined (syscall/dispatch.c), the
# calls by number, with each argument register converted to its type, and the names.
function fail(text) {
	print FILENAME ":" FNR ": " text >"/dev/stderr"
	failed = 1
	exit 1
}
/^[ \t]*(#|$)/ { next }
{
	nr = $1
	if (nr !~ /^[0-9]+$/ || NF < 2)
		fail("expected: NUMBER NAME [FUNCTION(ARGUMENTS)]")
	if (nr in name)
		fail("number " nr " twice")
	name[nr] = $2
	if (nr + 0 > max)
		max = nr + 0
	if (NF == 2)
		next
	rest = $0
	sub(/^[ \t]*[0-9]+[ \t]+[^ \t]+[ \t]+/, "", rest)
	if (!match(rest, /^sys_[a-z0-9_]+\(.*\)$/))
		fail("expected a function: " rest)
	open = index(rest, "(")
	fn = substr(rest, 1, open - 1)
	args = substr(rest, open + 1, length(rest) - open - 1)
	if ((fn in arguments) && arguments[fn] != args)
		fail(fn " with two signatures")
	if (!(fn in arguments))
		order[++functions] = fn
	arguments[fn] = args
	target[nr] = args == "regs" ? fn : "call_" fn
}
function wrapper(fn,	n, i, list, type, text) {
	if (arguments[fn] == "void")
		n = 0
	else
		n = split(arguments[fn], list, /[ \t]*,[ \t]*/)
	text = ""
	for (i = 1; i <= n; i++) {
		type = list[i]
		sub(/[ \t]*[A-Za-z_][A-Za-z_0-9]*$/, "", type)
		text = text (i > 1 ? ", " : "") "(" type ")regs_syscall_arg(r, " (i - 1) ")"
	}
	print "static s64 call_" fn "(struct regs *r)\n{\n\treturn " fn "(" text ");\n}"
}
END {
	if (failed)
		exit 1
	print "/* Made from syscall/table.tbl by tools/gen-syscalls.awk. */"
	print "#pragma once\n\n#include \"arch/api/regs.h\"\n"
	for (i = 1; i <= functions; i++) {
		args = arguments[order[i]]
		print "s64 " order[i] "(" (args == "regs" ? "struct regs *r" : args) ");"
	}
	print "\n#define SYSCALLS " (max + 1)
	print "\n#ifdef SYSCALL_TABLE"
	for (i = 1; i <= functions; i++)
		if (arguments[order[i]] != "regs")
			wrapper(order[i])
	print "\nstatic s64 syscall_missing(struct regs *r);\n"
	print "static s64 (*const syscall_table[SYSCALLS])(struct regs *r) = {"
	for (nr = 0; nr <= max; nr++)
		print "\t[" nr "] = " ((nr in target) ? target[nr] : "syscall_missing") ","
	print "};\n\nstatic const char *const syscall_names[SYSCALLS] = {"
	for (nr = 0; nr <= max; nr++)
		if (nr in name)
			print "\t[" nr "] = \"" name[nr] "\","
	print "};\n#endif"
}
