# The kernel's symbol table from `nm -n`: two parallel arrays, addresses (as offsets from
# KERNEL_BASE) and names, for backtraces. Sorted by address because nm -n is.
BEGIN { n = 0 }
$2 ~ /^[tT]$/ && $1 ~ /^ffffffff/ && $3 !~ /^(\.|L[0-9])/ { addr[n] = substr($1, 9); name[n] = $3; n++ }
END {
	print "\t.section .ksyms, \"a\"\n\t.balign 8\n\t.globl ksyms_count, ksyms_offset, ksyms_name_at, ksyms_names"
	print "ksyms_count:\t.long " n
	print "ksyms_offset:"
	for (i = 0; i < n; i++)
		print "\t.long 0x" addr[i] " - 0x80000000"
	print "ksyms_name_at:"
	at = 0
	for (i = 0; i < n; i++) {
		print "\t.long " at
		at += length(name[i]) + 1
	}
	print "ksyms_names:"
	for (i = 0; i < n; i++)
		print "\t.asciz \"" name[i] "\""
}
