# Samples in, quantiles out. Input, tabs between, sorted by the first `keys` fields and then by value:
#   mode kernel name round per control value count
# Output, one line a group: the keys, then n min median p99 max control; ticks of one operation (a sample
# of several is divided by `per`, with two decimals).
#
# use: awk -v keys=3 (all rounds together) or keys=4 (each round by itself)

BEGIN { FS = OFS = "\t" }

function figure(v) { return per == 1 ? v : sprintf("%.2f", v / per) }

# The value at the position that is `share` of the way through the n samples.
function at(share,   i, want) {
	want = int((n - 1) * share)
	for (i = 1; i < values && upto[i] <= want; i++)
		;
	return figure(value[i])
}

function flush_group() {
	if (n)
		print group, n, figure(value[1]), at(0.5), at(0.99), figure(value[values]), control
}

{
	key = $1 OFS $2 OFS $3
	if (keys == 4)
		key = key OFS $4
	if (key != group) {
		flush_group()
		group = key
		n = values = 0
	}
	per = $5
	control = $6
	n += $8
	value[++values] = $7
	upto[values] = n
}

END { flush_group() }
