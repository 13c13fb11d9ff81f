/* clang-format off */
/*
 * proto.h — what is said over the daemons' sockets (framing: line.h). No code: the contract.
 *
 * Times on the wire are integers, UTC nanoseconds. "uid" of the caller is never a field: it is the
 * kernel's. Refusals: EACCES (no right), EINVAL (malformed), ENOENT, EEXIST, ESTALE (digest or state
 * has changed), EAGAIN (a part is missing now, or too many), ENOSPC (only the log's reserve is
 * left: endings still go through), EIO (log failed: everything is denied).
 *
 * policy.sock — for people
 *   request   cameras:[..], from, to, reason, [until, case, chain, subject, assistant, replaces]
 *             → request, chain, [coverage:{camera:{seconds,first,last}|null}]
 *   requests  [todo:bool]              → requests:[REQUEST…]  own, and those the caller may sign
 *   show      request                  → REQUEST
 *   approve   request, [from,to,until,cameras], digest?   → request, state, grant|null, path|null
 *   reject    request, reason          → request, state
 *   withdraw  request                  → request, state
 *   grants                             → grants:[GRANT…]      own; monitoring and auditors: all
 *   return    grant                    → grant, state         own; waits like revoke
 *   revoke    grant, reason            → grant, state, acknowledged:bool, gates:N   monitoring and
 *             signers of the chain; the reply comes when every gate has stopped serving it, or its
 *             lease has ended
 *   config.show | config.diff | config.apply | config.approve(change)     admin
 *             diff → text, weakens:bool; apply → applied:bool, pending:N|null
 *   status    → policyd's part of `custos status`
 *   audit.check → {allowed:bool}       may the caller read the logs (auditor)
 *   REQUEST = {request, state, chain, stages:[{who,signer|null,time|null}], next, requester, uid,
 *             cameras, from, to, until, reason, case, subject, assistant, submitted, digest,
 *             asked:{cameras,from,to,until}, grant|null, path|null, coverage|null, ends|null,
 *             replaces|null, decision|null, decided_by|null}
 *             state: submitted | approved | active | returned | expired | revoked | rejected |
 *             withdrawn | lapsed          ("approved": some but not all stages have signed)
 *   GRANT   = {grant, request, state, user, uid, cameras, from, to, until, reason, case, chain,
 *             approvers:[..], epoch, path, activated, export:bool, subject|null}
 *
 * policy.sock — for daemons (by their configured uid alone)
 *   lease     gate, incarnation, have, wait_ms, [head]   the gate's long poll. `have` is the newest
 *             epoch the gate has put into force — thereby the acknowledgement of every revocation up
 *             to it. Answered at once when something newer exists, else after wait_ms (<= 2000).
 *             → epoch, lease_ms, grants:[GRANT…]|null (null: nothing newer than `have`),
 *               vkey, [checkpoint:NOTE]
 *             The gate counts the lease in CLOCK_BOOTTIME from the moment it *sent* the request;
 *             policyd from the moment it replied, so the gate's always ends first.
 *   snapshot  store, have, wait_ms, [head]               the recorder's long poll
 *             → number, snapshot:NOTE|null, vkey, [checkpoint:NOTE]
 *   may       uid, right ("ls" | "import" | "status" | "fsck")  → allowed:bool
 *   head = {origin, groups, last_seq, root(base64)}: policyd signs it (never a smaller tree, never
 *             another root for the same size) and answers with the checkpoint.
 *
 * A snapshot's signed text: first line "custos.policy/1", second line one JSON object
 *   {"number":N,"time":T,"policy_digest":HEX,
 *    "cameras":[{"camera":NAME,"min_age":NS,"max_age":NS|0}…],
 *    "keeps":[{"camera":NAME,"from":T,"to":T,"why":"grant 7"|"request 9"|"hold 3"}…]}
 *
 * recorder.sock
 *   status    → cameras:[{camera,state,source,last,rate_bps,frames,restarts,cause,durable}…],
 *               stores:[{name,path,…eng_stats…}…], store: the first of them,
 *               clock:{synced,error_us}, alarms:[line…]
 *   ls        [camera, from, to, gaps:bool] → runs:[{camera,from,to,start_reason,end_reason,
 *               imported,clock_synced,codecs:[..]}…]  and gaps:[{camera,from,to|null,cause}…]
 *   feed      camera, [start], [name] + a passed descriptor; answered when the stream has ended and
 *             is durable → frames, seconds, from, to, reason
 *   coverage  camera, from, to         policyd's uid alone → seconds, first|null, last|null
 *
 * gate.sock
 *   status    → mount, lease_ms_left, grants, handles, epoch, log:{durable,failed}, reads, denials
 *
 * Payloads of policyd's audit records (truth; the projection is rebuilt from them alone) are the
 * same objects: REQUEST as submitted for AUD_OP_REQUEST; {request, stage, digest, narrowed:{…}} for
 * APPROVE; GRANT and last_signer_uid for ACTIVATE; {grant, reason} for REVOKE_*; object = request
 * number, grant = grant.
 */
/* clang-format on */
#ifndef CUSTOS_PROTO_H
#define CUSTOS_PROTO_H
#define PROTO_VERSION     1
#define PROTO_LEASE_MS    5000
#define PROTO_WAIT_MAX_MS 2000
#endif
