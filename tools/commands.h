/*
 * commands.h — the subcommands, one function each; custos.c has the table. Each returns an exit
 * status after having told what failed.
 */
#ifndef CUSTOS_COMMANDS_H
#define CUSTOS_COMMANDS_H

#include "tools/cli.h"

/* cmd_store.c */
int cmd_init(struct cli *cli);
int cmd_fsck(struct cli *cli);
int cmd_dump(struct cli *cli);
int cmd_verify(struct cli *cli);
/* cmd_status.c, cmd_ls.c, cmd_feed.c */
int cmd_status(struct cli *cli);
int cmd_ls(struct cli *cli);
int cmd_feed(struct cli *cli);
/* cmd_request.c */
int cmd_request(struct cli *cli);
int cmd_approve(struct cli *cli);
int cmd_reject(struct cli *cli);
int cmd_withdraw(struct cli *cli);
/* cmd_show.c */
int cmd_requests(struct cli *cli);
int cmd_show(struct cli *cli);
/* cmd_grant.c */
int cmd_grants(struct cli *cli);
int cmd_return(struct cli *cli);
int cmd_revoke(struct cli *cli);
/* cmd_config.c */
int cmd_config_show(struct cli *cli);
int cmd_config_check(struct cli *cli);
int cmd_config_diff(struct cli *cli);
int cmd_config_apply(struct cli *cli);
int cmd_config_approve(struct cli *cli);
/* cmd_audit.c, cmd_audit_verify.c */
int cmd_audit_show(struct cli *cli);
int cmd_audit_verify(struct cli *cli);

extern const struct args_option opts_init[], opts_fsck[], opts_dump[], opts_verify[], opts_status[],
        opts_ls[], opts_feed[], opts_request[], opts_approve[], opts_reason[], opts_requests[],
        opts_audit_show[], opts_audit_verify[], opts_none[];

#endif
