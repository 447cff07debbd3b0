# syscall/table.tbl -> C: prototypes; and, where SYSCALL_TABLE is defined (syscall/dispatch.c), the
# calls by number, and the names. The table calls functions of all kinds by one type: the arguments are in
# registers anyhow, and a function reads of each as much as its type says.
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
	target[nr] = args == "regs" ? "call_" fn : fn
	if (args != "regs" && args ~ /(^|, *)(bool|char|short|u8|u16|s8|s16) /)
		fail("who calls must widen small types: use int")
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
		if (arguments[order[i]] == "regs")
			print "static s64 call_" order[i] "(void)\n{\n\treturn " order[i] "(syscall_regs());\n}"
	print "\nsyscall_fn *const syscall_table[SYSCALLS] = {"
	for (nr = 0; nr <= max; nr++)
		print "\t[" nr "] = " ((nr in target) ? "(syscall_fn *)" target[nr] : "(syscall_fn *)syscall_missing") ","
	print "};\n\nstatic const char *const syscall_names[SYSCALLS] = {"
	for (nr = 0; nr <= max; nr++)
		if (nr in name)
			print "\t[" nr "] = \"" name[nr] "\","
	print "};\n#endif"
}
