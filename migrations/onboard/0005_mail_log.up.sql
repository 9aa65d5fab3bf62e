-- SPDX-License-Identifier: MIT
-- What became of each user's mail, one row per (user, template). No address stands here.
--   pending   not sent: the next event of it, or its next try, will
--   sending   its owner is about to hand it in, or the owner was killed over it
--   sent      the server took it
--   failed    the server will never take it, or four tries went wrong: in the dead-letter queue
--   unknown   it may have gone out; a person decides (onboardctl mail resend, settle)
CREATE TABLE mail_log (
	user_id    bigint NOT NULL, -- no foreign key: users of other publishers are nowhere else
	template   text   NOT NULL,
	state      text   NOT NULL CONSTRAINT mail_log_state
	           CHECK (state IN ('pending', 'sending', 'sent', 'failed', 'unknown')),
	event_id   uuid   NOT NULL, -- of the first event that asked for it
	message_id text   NOT NULL, -- the same for each try
	owner      integer, -- the mailer that claimed it: holds a shared advisory lock by this number while it lives
	attempts   integer NOT NULL DEFAULT 0,
	smtp_code  integer, -- the server's last
	error      text,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	sent_at    timestamptz,
	PRIMARY KEY (user_id, template)
);
-- What is not settled is little and asked for often; what is sent is much and asked for by user.
CREATE INDEX mail_log_open ON mail_log (state, updated_at) WHERE state <> 'sent';
