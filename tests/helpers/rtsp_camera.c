/*
 * rtsp_camera — plays files as cameras: a small RTSP server over libgstrtspserver for the tests.
 *
 *   rtsp_camera [--once] [--auth USER:PASSWORD] PORT NAME=FILE [NAME=FILE…]
 *
 * PORT 0: any free one; prints "ready PORT". --auth: nobody is served without it (basic).
 *
 * Each rtsp://127.0.0.1:PORT/NAME plays its file (MP4, Matroska or MPEG-TS with H.264, H.265, AAC,
 * G.711) at its own rate, shared by all clients, over and over; with --once to its end. A file is
 * taken apart once, at the start, and kept in memory; each round goes out with its time stamps
 * moved, so a client sees one endless stream. Nothing is transcoded.
 */
#include <gst/gst.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACKS_MAX 2

static gboolean once;

struct film_track {
	GstCaps *caps;
	GPtrArray *buffers; /* GstBuffer */
};
struct film { /* one file, in memory; never freed */
	struct film_track track[TRACKS_MAX];
	guint n;
	GstClockTime length;
};
struct reel { /* one track being played to the clients of one media */
	const struct film *film;
	guint track, next;
	guint64 round;
};

/* How each codec is packed; pay%u is what the server looks for. */
static char *packing(const GstCaps *caps, guint i)
{
	static const struct {
		const char *media, *chain;
	} known[] = {
	        {"video/x-h264", "h264parse ! rtph264pay config-interval=-1"},
	        {"video/x-h265", "h265parse ! rtph265pay config-interval=-1"},
	        {"audio/mpeg", "aacparse ! rtpmp4gpay"},
	        {"audio/x-alaw", "rtppcmapay"},
	        {"audio/x-mulaw", "rtppcmupay"},
	};
	const char *media = gst_structure_get_name(gst_caps_get_structure(caps, 0));
	for (guint k = 0; k < G_N_ELEMENTS(known); k++)
		if (strcmp(known[k].media, media) == 0)
			return g_strdup_printf("appsrc name=src%u ! %s name=pay%u pt=%u", i,
			                       known[k].chain, i, 96 + i);
	return NULL;
}

/* ---- taking a file apart ---- */

static void on_pad(GstElement *parse, GstPad *pad, gpointer arg)
{
	GstElement *pipeline = arg, *sink = gst_element_factory_make("appsink", NULL);
	(void)parse;
	g_object_set(sink, "sync", FALSE, "async", FALSE, "wait-on-eos", FALSE, "max-buffers", 0,
	             NULL);
	gst_bin_add(GST_BIN(pipeline), sink);
	/* At once: waiting for its parent it would block the one thread that feeds both sinks. */
	gst_element_set_state(sink, GST_STATE_PLAYING);
	GstPad *to = gst_element_get_static_pad(sink, "sink");
	gst_pad_link(pad, to);
	gst_object_unref(to);
}

static void collect(struct film *film, GstElement *sink)
{
	struct film_track *t = &film->track[film->n];
	GstSample *s = NULL;

	t->buffers = g_ptr_array_new();
	for (;;) {
		g_signal_emit_by_name(sink, "pull-sample", &s);
		if (!s)
			break;
		GstBuffer *b = gst_buffer_ref(gst_sample_get_buffer(s));
		if (!t->caps)
			t->caps = gst_caps_ref(gst_sample_get_caps(s));
		g_ptr_array_add(t->buffers, b);
		if (GST_BUFFER_PTS_IS_VALID(b)) {
			GstClockTime end = GST_BUFFER_PTS(b);
			if (GST_BUFFER_DURATION_IS_VALID(b))
				end += GST_BUFFER_DURATION(b);
			if (end > film->length)
				film->length = end;
		}
		gst_sample_unref(s);
	}
	char *chain = t->caps ? packing(t->caps, film->n) : NULL;
	if (chain)
		film->n++;
	g_free(chain);
}

static struct film *film_load(const char *path)
{
	struct film *film = g_new0(struct film, 1);
	GstElement *p = gst_pipeline_new(NULL);
	GstElement *src = gst_element_factory_make("filesrc", NULL);
	GstElement *parse = gst_element_factory_make("parsebin", NULL);
	GValue item = G_VALUE_INIT;

	g_object_set(src, "location", path, NULL);
	gst_bin_add_many(GST_BIN(p), src, parse, NULL);
	gst_element_link(src, parse);
	g_signal_connect(parse, "pad-added", G_CALLBACK(on_pad), p);
	gst_element_set_state(p, GST_STATE_PLAYING);
	GstMessage *m = gst_bus_timed_pop_filtered(gst_element_get_bus(p), 60 * GST_SECOND,
	                                           GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
	if (!m || GST_MESSAGE_TYPE(m) == GST_MESSAGE_ERROR)
		return NULL;
	GstIterator *it = gst_bin_iterate_sinks(GST_BIN(p));
	while (film->n < TRACKS_MAX && gst_iterator_next(it, &item) == GST_ITERATOR_OK) {
		collect(film, g_value_get_object(&item));
		g_value_reset(&item);
	}
	gst_iterator_free(it);
	gst_element_set_state(p, GST_STATE_NULL);
	gst_object_unref(p);
	return film->n ? film : NULL;
}

/* ---- playing ---- */

static void on_need(GstElement *src, guint size, gpointer arg)
{
	struct reel *r = arg;
	const struct film_track *t = &r->film->track[r->track];
	GstFlowReturn flow;

	(void)size;
	if (r->next == t->buffers->len && once) {
		g_signal_emit_by_name(src, "end-of-stream", &flow);
		return;
	}
	if (r->next == t->buffers->len) {
		r->next = 0;
		r->round++;
	}
	GstBuffer *b = gst_buffer_copy(g_ptr_array_index(t->buffers, r->next++));
	GstClockTime shift = r->round * r->film->length;
	if (GST_BUFFER_PTS_IS_VALID(b))
		GST_BUFFER_PTS(b) += shift;
	if (GST_BUFFER_DTS_IS_VALID(b))
		GST_BUFFER_DTS(b) += shift;
	g_signal_emit_by_name(src, "push-buffer", b, &flow);
	gst_buffer_unref(b);
}

static void on_configure(GstRTSPMediaFactory *factory, GstRTSPMedia *media, gpointer arg)
{
	const struct film *film = arg;
	GstElement *bin = gst_rtsp_media_get_element(media);

	(void)factory;
	for (guint i = 0; i < film->n; i++) {
		char name[16];
		struct reel *r = g_new0(struct reel, 1);
		g_snprintf(name, sizeof(name), "src%u", i);
		GstElement *src = gst_bin_get_by_name_recurse_up(GST_BIN(bin), name);
		r->film = film;
		r->track = i;
		g_object_set(src, "format", GST_FORMAT_TIME, "caps", film->track[i].caps, NULL);
		g_signal_connect(src, "need-data", G_CALLBACK(on_need), r);
		g_object_set_data_full(G_OBJECT(media), name, r, g_free);
		gst_object_unref(src);
	}
	gst_object_unref(bin);
}

static gboolean mount(GstRTSPServer *server, const char *spec)
{
	const char *eq = strchr(spec, '=');
	if (!eq || eq == spec)
		return FALSE;
	struct film *film = film_load(eq + 1);
	if (!film)
		return FALSE;
	GString *launch = g_string_new("( ");
	for (guint i = 0; i < film->n; i++) {
		char *chain = packing(film->track[i].caps, i);
		g_string_append_printf(launch, "%s ", chain);
		g_free(chain);
	}
	g_string_append(launch, ")");
	GstRTSPMediaFactory *factory = gst_rtsp_media_factory_new();
	gst_rtsp_media_factory_set_launch(factory, launch->str);
	gst_rtsp_media_factory_set_shared(factory, TRUE);
	gst_rtsp_media_factory_add_role(factory, "viewer", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS,
	                                G_TYPE_BOOLEAN, TRUE, GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
	                                G_TYPE_BOOLEAN, TRUE, NULL);
	g_signal_connect(factory, "media-configure", G_CALLBACK(on_configure), film);
	char *path = g_strdup_printf("/%.*s", (int)(eq - spec), spec);
	GstRTSPMountPoints *mounts = gst_rtsp_server_get_mount_points(server);
	gst_rtsp_mount_points_add_factory(mounts, path, factory);
	g_object_unref(mounts);
	g_free(path);
	g_string_free(launch, TRUE);
	return TRUE;
}

static void ask_password(GstRTSPServer *server, const char *user_password)
{
	GstRTSPAuth *auth = gst_rtsp_auth_new();
	GstRTSPToken *token = gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING,
	                                         "viewer", NULL);
	char *basic = g_base64_encode((const guchar *)user_password, strlen(user_password));

	gst_rtsp_auth_add_basic(auth, basic, token);
	gst_rtsp_server_set_auth(server, auth);
	g_free(basic);
	gst_rtsp_token_unref(token);
	g_object_unref(auth);
}

int main(int argc, char **argv)
{
	const char *auth = NULL;

	gst_init(&argc, &argv);
	if (argc > 1 && strcmp(argv[1], "--once") == 0) {
		once = TRUE;
		argc--;
		argv++;
	}
	if (argc > 2 && strcmp(argv[1], "--auth") == 0) {
		auth = argv[2];
		argc -= 2;
		argv += 2;
	}
	if (argc < 3) {
		fputs("usage: rtsp_camera [--once] [--auth USER:PASSWORD] PORT NAME=FILE "
		      "[NAME=FILE...]\n",
		      stderr);
		return 2;
	}
	GstRTSPServer *server = gst_rtsp_server_new();
	gst_rtsp_server_set_address(server, "127.0.0.1");
	gst_rtsp_server_set_service(server, argv[1]);
	if (auth)
		ask_password(server, auth);
	for (int i = 2; i < argc; i++) {
		if (mount(server, argv[i]))
			continue;
		fprintf(stderr, "rtsp_camera: cannot play \"%s\"; give NAME=FILE\n", argv[i]);
		return 1;
	}
	if (gst_rtsp_server_attach(server, NULL) == 0) {
		fprintf(stderr, "rtsp_camera: cannot listen on port %s\n", argv[1]);
		return 1;
	}
	printf("ready %d\n", gst_rtsp_server_get_bound_port(server));
	fflush(stdout);
	g_main_loop_run(g_main_loop_new(NULL, FALSE));
	return 0;
}
