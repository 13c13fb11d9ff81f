/*
 * What a change of policy would do: the difference for people, and the list of rules it weakens,
 * which a second admin has to approve. In doubt a change counts as weakening: the cost is a second
 * signature.
 */
#include <stdio.h>
#include <stdlib.h>

#include "policyd/policyconf.h"
#include "policyd/strv.h"

static void list_added(FILE *f, const char *kind, const char *name, const char *list,
                       char *const *old, char *const *new)
{
	for (size_t i = 0; new &&new[i]; i++)
		if (!strv_has(old, new[i]))
			fprintf(f, "%s \"%s\": %s gains %s\n", kind, name, list, new[i]);
}

static void weaker_people(FILE *f, const struct pol_conf *a, const struct pol_conf *b)
{
	for (size_t i = 0; i < b->n_roles; i++) {
		long r = policyconf_role(a, b->roles[i].name);

		list_added(f, "role", b->roles[i].name, "members",
		           r < 0 ? NULL : a->roles[r].members, b->roles[i].members);
	}
	for (size_t i = 0; i < b->n_departments; i++) {
		const struct pol_department *d = &b->departments[i], *old = NULL;

		for (size_t j = 0; j < a->n_departments; j++)
			if (!strcmp(a->departments[j].name, d->name))
				old = &a->departments[j];
		list_added(f, "department", d->name, "heads", old ? old->heads : NULL, d->heads);
		list_added(f, "department", d->name, "deputies", old ? old->deputies : NULL,
		           d->deputies);
	}
}

static void weaker_cameras(FILE *f, const struct pol_conf *a, const struct pol_conf *b)
{
	for (size_t i = 0; i < b->n_cameras; i++) {
		const struct pol_camera *c = &b->cameras[i], *old = policyconf_camera(a, c->name);

		if (!old)
			continue;
		if (c->min_age_ns < old->min_age_ns)
			fprintf(f, "camera \"%s\": min_age is lowered\n", c->name);
		if (c->max_age_ns && (!old->max_age_ns || c->max_age_ns < old->max_age_ns))
			fprintf(f, "camera \"%s\": max_age is lowered: footage goes earlier\n",
			        c->name);
		if (old->max_age_ns && (!c->max_age_ns || c->max_age_ns > old->max_age_ns))
			fprintf(f, "camera \"%s\": max_age is raised: footage stays longer\n",
			        c->name);
		if (c->level < old->level)
			fprintf(f, "camera \"%s\": level is lowered\n", c->name);
		if (strcmp(a->departments[old->department].name,
		           b->departments[c->department].name) != 0)
			fprintf(f, "camera \"%s\": moves to another department's heads\n", c->name);
	}
}

/* Every old stage is still there, in order, asking for no fewer people. */
static bool stages_kept(const struct pol_conf *a, const struct pol_chain *old,
                        const struct pol_conf *b, const struct pol_chain *new)
{
	size_t j = 0;

	for (size_t i = 0; i < old->n_stages; i++, j++) {
		const struct pol_stage *o = &old->stages[i];

		for (; j < new->n_stages; j++) {
			const struct pol_stage *n = &new->stages[j];

			if (n->head == o->head && n->need >= o->need &&
			    (o->head || !strcmp(a->roles[o->role].name, b->roles[n->role].name)))
				break;
		}
		if (j == new->n_stages)
			return false;
	}
	return true;
}

static void weaker_chains(FILE *f, const struct pol_conf *a, const struct pol_conf *b)
{
	for (size_t i = 0; i < b->n_chains; i++) {
		const struct pol_chain *c = &b->chains[i], *old = policyconf_chain(a, c->name);

		if (!old) {
			fprintf(f, "chain \"%s\" is a new way to ask\n", c->name);
			continue;
		}
		list_added(f, "chain", c->name, "requesters", old->requesters, c->requesters);
		if (!stages_kept(a, old, b, c))
			fprintf(f, "chain \"%s\": a stage is dropped or asks for fewer\n", c->name);
		if (old->subject_required && !c->subject_required)
			fprintf(f, "chain \"%s\": no subject needed any more\n", c->name);
		if (!old->export_allowed && c->export_allowed)
			fprintf(f, "chain \"%s\": export becomes allowed\n", c->name);
		if (old->notify && (!c->notify || strcmp(old->notify, c->notify) != 0 ||
		                    c->within_ns > old->within_ns))
			fprintf(f, "chain \"%s\": the notice is dropped, moved or later\n",
			        c->name);
	}
}

char *policy_weakens(const struct pol_conf *from, const struct pol_conf *to)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *f = open_memstream(&text, &bytes);

	if (!f)
		return NULL;
	if (to->min_age_floor_ns < from->min_age_floor_ns)
		fprintf(f, "limits: min_age_floor is lowered\n");
	if (to->max_window_ns > from->max_window_ns)
		fprintf(f, "limits: max_window is widened\n");
	if (to->max_grant_ns > from->max_grant_ns)
		fprintf(f, "limits: max_grant is widened\n");
	weaker_people(f, from, to);
	weaker_cameras(f, from, to);
	weaker_chains(f, from, to);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- line difference ---- */

#define WALK_LINES_MAX 2000
#define CONTEXT_LINES  3

struct lines {
	char *copy, **line;
	size_t n;
};

static int split(const char *text, struct lines *out)
{
	size_t max = 1;
	char *s;

	for (const char *p = text; *p; p++)
		max += *p == '\n';
	out->n = 0;
	out->copy = strdup(text);
	out->line = calloc(max, sizeof(*out->line));
	if (!out->copy || !out->line)
		return -1;
	for (s = out->copy; *s;) {
		size_t len = strcspn(s, "\n");
		bool last = !s[len];

		s[len] = '\0';
		out->line[out->n++] = s;
		s += len + !last;
		if (last)
			break;
	}
	return 0;
}

/* Lines that did not change, between two changes: all of a few, else those next to the changes.
 * `line` is the number of the first one in the new file. Returns how many there are. */
static size_t same(FILE *f, char **a, size_t n, char **b, size_t m, size_t line)
{
	size_t run = 0;

	while (run < n && run < m && !strcmp(a[run], b[run]))
		run++;
	for (size_t i = 0; i < run; i++) {
		if (run > 2 * CONTEXT_LINES + 1 && i == CONTEXT_LINES) {
			i = run - CONTEXT_LINES;
			fprintf(f, "@@ from line %zu @@\n", line + i);
		}
		fprintf(f, "  %s\n", a[i]);
	}
	return run;
}

/* Longest common subsequence of what lies between the common beginning and the common end; `line`
 * is the number of the first line. */
static int walk(FILE *f, char **a, size_t n, char **b, size_t m, size_t line)
{
	uint16_t *t;
	size_t i = 0, j = 0;

	if (n > WALK_LINES_MAX ||
	    m > WALK_LINES_MAX) { /* nothing is gained by a table of gigabytes */
		while (i < n)
			fprintf(f, "- %s\n", a[i++]);
		while (j < m)
			fprintf(f, "+ %s\n", b[j++]);
		return 0;
	}
	t = calloc((n + 1) * (m + 1), sizeof(*t));
	if (!t)
		return -1;
	for (size_t x = n; x-- > 0;)
		for (size_t y = m; y-- > 0;) {
			uint16_t down = t[(x + 1) * (m + 1) + y], right = t[x * (m + 1) + y + 1];

			t[x * (m + 1) + y] = !strcmp(a[x], b[y])
			                             ? (uint16_t)(t[(x + 1) * (m + 1) + y + 1] + 1)
			                             : (down > right ? down : right);
		}
	while (i < n || j < m) {
		if (i < n && j < m && !strcmp(a[i], b[j])) {
			size_t run = same(f, a + i, n - i, b + j, m - j, line + j);

			i += run;
			j += run;
		} else if (i < n &&
		           (j == m || t[(i + 1) * (m + 1) + j] >= t[i * (m + 1) + j + 1])) {
			fprintf(f, "- %s\n", a[i++]);
		} else {
			fprintf(f, "+ %s\n", b[j++]);
		}
	}
	free(t);
	return 0;
}

char *policy_diff(const char *from, const char *to)
{
	struct lines a = {0}, b = {0};
	size_t head = 0, tail = 0, bytes = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, &bytes);
	bool ok = f && !split(from, &a) && !split(to, &b);

	if (ok && strcmp(from, to) != 0) {
		while (head < a.n && head < b.n && !strcmp(a.line[head], b.line[head]))
			head++;
		while (tail < a.n - head && tail < b.n - head &&
		       !strcmp(a.line[a.n - 1 - tail], b.line[b.n - 1 - tail]))
			tail++;
		fprintf(f, "@@ from line %zu @@\n", head + 1);
		ok = !walk(f, a.line + head, a.n - head - tail, b.line + head, b.n - head - tail,
		           head + 1);
	}
	free(a.copy);
	free(a.line);
	free(b.copy);
	free(b.line);
	if (f && fclose(f))
		ok = false;
	if (!ok) {
		free(text);
		return NULL;
	}
	return text;
}
