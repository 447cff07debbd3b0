/*
 * The command line. The linker gathers every CMDLINE_OPTION of the kernel in one section, so the
 * table of options needs no list by hand. The line is copied once and cut in place; values point
 * into the copy and live for ever.
 *
 * Words that name no option are kept for cmdline_log_unknown: when the line is parsed there is no
 * log yet. A `-` in an option's name may be written `_`, and the other way round.
 *
 * Runs at boot on one CPU: no locks; immutable afterwards.
 */
#include "lib/cmdline.h"

#include "arch/api/boot.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/string.h"

/* The section's ends, from the linker script. Weak: a host test may have no options. */
extern struct cmdline_option __cmdline_options_start[] __attribute__((weak));
extern struct cmdline_option __cmdline_options_end[] __attribute__((weak));

#define MAX_WORDS 64

static char text[BOOT_CMDLINE_MAX];
static const char *unknown[MAX_WORDS];
static u32 nr_unknown, nr_lost;
static const char *init_args[MAX_WORDS + 1];
static u32 nr_init_args;

/*
 * Cuts the next word off *rest, without its quotes. NULL: none left. Within quotes a backslash takes
 * the next character as it is. A quote that is never closed reaches to the end of the line.
 */
static char *next_word(char **rest)
{
	char *from = *rest;
	bool quoted = false;

	while (*from == ' ' || *from == '\t' || *from == '\n')
		from++;
	if (*from == 0)
		return NULL;
	char *word = from, *to = from;

	for (; *from != 0; from++) {
		if (*from == '"')
			quoted = !quoted;
		else if (quoted && *from == '\\' && from[1] != 0)
			*to++ = *++from;
		else if (!quoted && (*from == ' ' || *from == '\t' || *from == '\n'))
			break;
		else
			*to++ = *from;
	}
	*rest = *from != 0 ? from + 1 : from;
	*to = 0;
	return word;
}

/* Is `word` this name, or this name with a value? */
static bool name_matches(const char *name, const char *word, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (name[i] != word[i] &&
		    !((name[i] == '-' || name[i] == '_') && (word[i] == '-' || word[i] == '_')))
			return false;
	return name[len] == 0;
}

static bool set_option(char *word)
{
	char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	bool found = false;

	/* Two files may look at the same option. */
	for (struct cmdline_option *o = __cmdline_options_start; o < __cmdline_options_end; o++) {
		if (strnlen(o->name, len) != len || !name_matches(o->name, word, len))
			continue;
		o->value = equals ? equals + 1 : word + len;
		if (o->count < ARRAY_SIZE(o->all))
			o->all[o->count] = o->value;
		o->count++;
		found = true;
	}
	return found;
}

void cmdline_parse(const char *line)
{
	char *rest = text, *word;

	nr_unknown = nr_lost = nr_init_args = 0;
	kstrlcpy(text, line, sizeof(text));
	while ((word = next_word(&rest)) && strcmp(word, "--") != 0) {
		if (set_option(word))
			continue;
		if (nr_unknown < MAX_WORDS)
			unknown[nr_unknown++] = word;
		else
			nr_lost++;
	}
	while (word && (word = next_word(&rest))) {
		if (nr_init_args < MAX_WORDS)
			init_args[nr_init_args++] = word;
		else
			nr_lost++;
	}
	init_args[nr_init_args] = NULL;
}

void cmdline_log_unknown(void)
{
	for (u32 i = 0; i < nr_unknown; i++)
		log_warn("command line: unknown option \"%s\" ignored\n", unknown[i]);
	if (nr_lost != 0)
		log_warn("command line: %u words too many ignored\n", nr_lost);
}

const char *const *cmdline_init_args(u32 *n)
{
	*n = nr_init_args;
	return init_args;
}

static u64 number(const struct cmdline_option *o, u64 def, int (*parse)(const char *s, u64 *out))
{
	u64 v = def;

	if (o->value && parse(o->value, &v) != 0)
		log_warn("command line: %s=%s is no number, taking %lu\n", o->name, o->value, def);
	return v;
}

static int parse_u64_any(const char *s, u64 *out)
{
	return kstrtou64(s, 0, out);
}

u64 cmdline_u64(const struct cmdline_option *o, u64 def)
{
	return number(o, def, parse_u64_any);
}

u64 cmdline_size(const struct cmdline_option *o, u64 def)
{
	return number(o, def, kstrtosize);
}

bool cmdline_is(const struct cmdline_option *o, const char *value)
{
	return o->value && strcmp(o->value, value) == 0;
}
