/*
 * test_cli_conf.c — custos.conf: everything it may hold, and each way of getting it wrong.
 */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/support_cli.h"
#include "policyd/conf.h"

#define SAMPLE "policyd/custos.conf.sample"

static int load_text(const char *text, struct conf **out, char *err, size_t err_bytes)
{
	char *dir = cli_scratch(), *path = cli_path(dir, "c.conf");
	int rc;

	cli_write_file(path, text);
	rc = conf_load(path, out, err, err_bytes);
	/* Messages name the file; tests look at what follows it. */
	if (rc && strncmp(err, path, strlen(path)) == 0)
		memmove(err, err + strlen(path), strlen(err + strlen(path)) + 1);
	free(path);
	cli_scratch_remove(dir);
	return rc;
}

static void test_defaults(void **state)
{
	struct conf *c;
	char err[512], path[PATH_MAX];

	(void)state;
	assert_int_equal(load_text("", &c, err, sizeof(err)), 0);
	assert_string_equal(c->timezone, "UTC");
	assert_string_equal(c->run, "/run/custos");
	assert_string_equal(c->recorder_user, "custos-rec");
	assert_string_equal(c->policy_user, "custos-pol");
	assert_string_equal(c->gate_user, "custos-gate");
	assert_string_equal(c->store_group, "custos-store");
	assert_string_equal(c->audit_group, "custos-audit");
	assert_string_equal(c->mount, "/mnt/custos");
	assert_true(c->slice_ns == 600 * NSEC_PER_SEC);
	assert_int_equal(c->n_stores + c->n_cameras, 0);
	assert_string_equal(conf_path(c, CONF_SOCK_POLICY, path, sizeof(path)),
	                    "/run/custos/policy/policy.sock");
	assert_string_equal(conf_path(c, CONF_SOCK_RECORD, path, sizeof(path)),
	                    "/run/custos/recorder/recorder.sock");
	assert_string_equal(conf_path(c, CONF_SOCK_GATE, path, sizeof(path)),
	                    "/run/custos/gate/gate.sock");
	assert_string_equal(conf_path(c, CONF_LOG_RECORD, path, sizeof(path)),
	                    "/var/lib/custos/recorder/log");
	assert_string_equal(conf_path(c, CONF_KEY_PUB, path, sizeof(path)),
	                    "/var/lib/custos/keys/sign.pub");
	assert_string_equal(conf_path(c, CONF_DB, path, sizeof(path)),
	                    "/var/lib/custos/policy/policy.db");
	conf_free(c);
}

static const char everything[] =
        "timezone = \"Asia/Shanghai\" # here\n"
        "run = \"/r\" state = \"/s\" policy = \"/p\"\n"
        "recorder_user = \"a\" policy_user = b gate_user = 'c'\n"
        "store_group = \"d\" audit_group = \"e\"\n"
        "store \"一\" { path = \"/one\" flush = \"500ms\" integrity = \"xxh3\" memory = \"64M\" }\n"
        "store \"two\" { path = \"/two\" }\n"
        "gate { mount = \"/m\"  slice = \"1min\" }\n"
        "/* cameras { */ // and {\n"
        "camera \"东门\" { store = \"一\"  source = \"feed\" feeders = {\"p\", \"@g\", \"uid:7\"}\n"
        "  audio = false stall = \"5s\" }\n"
        "camera \"b\" { store = two source = rtsp://10.0.0.8/stream#1\n credential = \"/c\" }\n";

static void test_everything(void **state)
{
	const struct conf_camera *cam;
	struct conf *c;
	char err[512];

	(void)state;
	assert_int_equal(load_text(everything, &c, err, sizeof(err)), 0);
	assert_string_equal(c->timezone, "Asia/Shanghai");
	assert_string_equal(c->gate_user, "c");
	assert_int_equal(c->n_stores, 2);
	assert_non_null(conf_store(c, "一"));
	assert_true(conf_store(c, "一")->flush_ns == 500 * NSEC_PER_MSEC);
	assert_false(conf_store(c, "一")->leaves);
	assert_true(conf_store(c, "一")->memory_bytes == 64 * MIB);
	assert_true(conf_store(c, "two")->flush_ns == NSEC_PER_SEC);
	assert_true(conf_store(c, "two")->leaves);
	assert_null(conf_store(c, "three"));
	assert_string_equal(c->mount, "/m");
	assert_true(c->slice_ns == 60 * NSEC_PER_SEC);
	cam = conf_camera(c, "东门");
	assert_non_null(cam);
	assert_string_equal(cam->store, "一");
	assert_string_equal(cam->feeders[0], "p");
	assert_string_equal(cam->feeders[1], "@g");
	assert_string_equal(cam->feeders[2], "uid:7");
	assert_null(cam->feeders[3]);
	assert_false(cam->audio);
	assert_true(cam->stall_ns == 5 * NSEC_PER_SEC);
	cam = conf_camera(c, "b");
	assert_string_equal(cam->credential, "/c");
	assert_null(cam->feeders[0]);
	assert_true(cam->audio);
	conf_free(c);
}

static void test_only_store_is_the_default(void **state)
{
	struct conf *c;
	char err[512];

	(void)state;
	assert_int_equal(load_text("camera \"c\" { source = \"feed\" }\n"
	                           "store \"s\" { path = \"/s\" }\n",
	                           &c, err, sizeof(err)),
	                 0);
	assert_string_equal(conf_camera(c, "c")->store, "s");
	conf_free(c);
}

#define S "store \"s\" { path = \"/s\" }\n"

/* Each wrong text, the line that is to be blamed, and a word of the reason. */
static void test_errors(void **state)
{
	static const struct {
		const char *text;
		int line;
		const char *word;
	} cases[] = {
	        {"# one\n\nfrob = 1\n", 3, "frob"},
	        {S "store \"t\" { path = \"/t\"\n frob = 1 }\n", 3, "frob"},
	        {"run = \"/a\"\n# c\nrun = \"/b\"\n", 3, "twice"},
	        {"gate { slice = \"1min\" }\ngate { slice = \"2min\" }\n", 2, "twice"},
	        {"gate { }\ngate { }\n", 2, "twice"},
	        {"store \"s\" { path = \"/a\" path = \"/a\" }\n", 1, "twice"},
	        {S "camera \"c\" { source=feed feeders={a}\n feeders={b} }\n", 3, "twice"},
	        {S "camera \"c\" { source=feed audio=true\n audio=false }\n", 3, "twice"},
	        {S "/* x\n */ store \"s\" { path = \"/t\" }\n", 3, "duplicate"},
	        {S "camera \"东\" { source=feed }\ncamera \"东\" { source=feed }\n", 3,
	         "duplicate"},
	        {S "camera \"c\" {\n source=feed\n store=\"t\"\n}\n", 4, "\"t\""},
	        {S "store \"t\" { path=\"/t\" }\ncamera \"c\" { source=feed }\n", 3, "which store"},
	        {S "camera \"c\" { }\n", 2, "source"},
	        {S "camera \"\" { source=feed }\n", 2, "name"},
	        {S "camera \"a/b\" { source=feed }\n", 2, "a/b"},
	        {S "camera \"..\" { source=feed }\n", 2, ".."},
	        {S "camera \"-x\" { source=feed }\n", 2, "-x"},
	        {S "camera \"a,b\" { source=feed }\n", 2, "a,b"},
	        {S "camera \"\xff\xfe\" { source=feed }\n", 2, "UTF-8"},
	        {S "camera \"c\" { source=\"a\x01\" }\n", 2, "UTF-8"},
	        {S "camera \"c\" { source=\"\" }\n", 2, "empty"},
	        {S "camera \"c\" { source=feed audio=perhaps }\n", 2, "audio"},
	        {S "camera \"c\" { source=feed\n stall=\"5\" }\n", 3, "duration"},
	        {S "camera \"c\" { source=feed credential=\"rel\" }\n", 2, "absolute"},
	        {"store \"s\" { }\n", 1, "path"},
	        {"store \"s\" { path=\"rel\" }\n", 1, "absolute"},
	        {"store \"s\" { path=\"/s\"\nflush=\"0s\" }\n", 2, "flush"},
	        {"store \"s\" { path=\"/s\"\nflush=\"2h\" }\n", 2, "range"},
	        {"store \"s\" { path=\"/s\" memory=\"1K\" }\n", 1, "memory"},
	        {"store \"s\" { path=\"/s\" memory=\"much\" }\n", 1, "memory"},
	        {"store \"s\" { path=\"/s\"\nintegrity=\"md5\" }\n", 2, "md5"},
	        {"\ngate { slice = \"3y\" }\n", 2, "duration"},
	        {"timezone = \"Moon/Base\"\n", 1, "Moon/Base"},
	        {"\n\nstore \"s\" { path = \"/s\"\n\n", 3, "never ends"},
	        {"run = \"/r\n\n", 1, "never ends"},
	        {"run = \"/r\" /* \n\n", 1, "never ends"},
	        {"run = \"/r\"\n}\n", 2, "}"},
	        {"run \"/r\"\n", 1, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct conf *c = NULL;
		char err[512] = "", at[16];

		print_message("%zu: %s\n", i, cases[i].word);
		assert_int_equal(load_text(cases[i].text, &c, err, sizeof(err)), -EINVAL);
		snprintf(at, sizeof(at), ":%d: ", cases[i].line);
		if (strncmp(err, at, strlen(at)) != 0 || !strstr(err, cases[i].word) ||
		    !strchr(err, ';') || strchr(err, '\n'))
			fail_msg("got \"%s\", expected \"%s…%s…; …\"", err, at, cases[i].word);
	}
}

static void test_missing_file_and_environment(void **state)
{
	char *dir = cli_scratch(), *path = cli_path(dir, "c.conf"), err[512];
	struct conf *c;

	(void)state;
	assert_int_equal(conf_load(path, &c, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, path));
	cli_write_file(path, "run = \"/from-environment\"\n");
	assert_int_equal(setenv("CUSTOS_CONF", path, 1), 0);
	assert_int_equal(conf_load(NULL, &c, err, sizeof(err)), 0);
	assert_string_equal(c->run, "/from-environment");
	assert_string_equal(c->file, path);
	conf_free(c);
	unsetenv("CUSTOS_CONF");
	free(path);
	cli_scratch_remove(dir);
}

/* Truncated at every byte: an error or a whole configuration, never a crash. */
static void test_truncated_everywhere(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof(everything); n++) {
		char *text = strndup(everything, n), err[512];
		struct conf *c;

		if (load_text(text, &c, err, sizeof(err)) == 0)
			conf_free(c);
		free(text);
	}
}

static void test_sample_is_good(void **state)
{
	struct conf *c;
	char err[512];

	(void)state;
	if (access(SAMPLE, R_OK) != 0)
		skip(); /* not run from the top folder */
	assert_int_equal(conf_load(SAMPLE, &c, err, sizeof(err)), 0);
	assert_int_equal(c->n_cameras, 2);
	conf_free(c);
}

static void test_people(void **state)
{
	char name[256];
	uid_t uid;

	(void)state;
	assert_int_equal(people_uid("root", &uid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(people_uid("uid:1004", &uid), 0);
	assert_int_equal(uid, 1004);
	assert_int_equal(people_uid("no-such-user-here", &uid), -ENOENT);
	assert_int_equal(conf_uid("no-such-user-here", &uid), -ENOENT);
	for (size_t i = 0; i < 6; i++) {
		static const char *const bad[] = {"uid:",           "uid:-1",
		                                  "uid: 1",         "uid:1x",
		                                  "uid:4294967295", "uid:99999999999999999999"};
		assert_int_equal(people_uid(bad[i], &uid), -EINVAL);
		assert_true(people_match(bad[i], 0) < 0);
	}
	assert_int_equal(people_name(0, name, sizeof(name)), 0);
	assert_string_equal(name, "root");
	assert_int_equal(people_name(3999999999u, name, sizeof(name)), 0);
	assert_string_equal(name, "uid:3999999999");
	assert_int_equal(people_match("root", 0), 1);
	assert_int_equal(people_match("root", 1), 0);
	assert_int_equal(people_match("uid:0", 0), 1);
	assert_int_equal(people_match("uid:00", 1), 0);
	assert_int_equal(people_match("no-such-user-here", 0), 0);
	assert_int_equal(people_match("@root", 0), 1);
	assert_int_equal(people_match("@root", 65534), 0);
	assert_int_equal(people_match("@root", 3999999999u), 0);
	assert_int_equal(people_match("@no-such-group-here", 0), 0);
	assert_int_equal(people_match("", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_defaults),
	        cmocka_unit_test(test_everything),
	        cmocka_unit_test(test_only_store_is_the_default),
	        cmocka_unit_test(test_errors),
	        cmocka_unit_test(test_missing_file_and_environment),
	        cmocka_unit_test(test_truncated_everywhere),
	        cmocka_unit_test(test_sample_is_good),
	        cmocka_unit_test(test_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
