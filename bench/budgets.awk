# bench/budgets.tsv for awk: lines name, instructions, tolerance ("2 %") and note, tabs between; a line
# without a tolerance has none. Use: awk -f bench/budgets.awk -f rest bench/budgets.tsv ...

FILENAME ~ /budgets\.tsv$/ {
	if ($0 !~ /^#/ && NF >= 2) {
		budget[$1] = $2 + 0
		if ($3 ~ /^[0-9.]+ *%$/) {
			tolerance[$1] = $3 + 0
			budget_note[$1] = $4
		} else
			budget_note[$1] = $3
	}
	next
}

function has_budget(name) { return name in budget }

# The most that is allowed.
function budget_limit(name) { return int(budget[name] * (1 + tolerance[name] / 100) + 0.5) }
