CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE collaborations (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	default_aggregator TEXT, 
	runs_active_max INTEGER, 
	bytes_max BIGINT, 
	retention_days INTEGER, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_collaborations PRIMARY KEY (id), 
	CONSTRAINT uq_collaborations_name_key UNIQUE (name_key)
);
CREATE TABLE login_failures (
	subject TEXT NOT NULL, 
	failures INTEGER NOT NULL, 
	last_at DOUBLE PRECISION NOT NULL, 
	until DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_login_failures PRIMARY KEY (subject)
);
CREATE INDEX ix_login_failures_last_at ON login_failures (last_at);
CREATE TABLE organizations (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_organizations PRIMARY KEY (id), 
	CONSTRAINT uq_organizations_name_key UNIQUE (name_key)
);
CREATE TABLE people_changes (
	id INTEGER NOT NULL, 
	value BIGINT NOT NULL, 
	CONSTRAINT pk_people_changes PRIMARY KEY (id)
);
CREATE TABLE setup_codes (
	id INTEGER NOT NULL, 
	hash TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_setup_codes PRIMARY KEY (id)
);
CREATE TABLE collaboration_organizations (
	collaboration_id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	CONSTRAINT pk_collaboration_organizations PRIMARY KEY (collaboration_id, organization_id), 
	CONSTRAINT fk_collaboration_organizations_collaboration_id_collaborations FOREIGN KEY(collaboration_id) REFERENCES collaborations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_collaboration_organizations_organization_id_organizations FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE
);
CREATE INDEX ix_collaboration_organizations_organization_id ON collaboration_organizations (organization_id);
CREATE TABLE invitations (
	id TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	roles TEXT NOT NULL, 
	name TEXT NOT NULL, 
	invited_by TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	expires_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_invitations PRIMARY KEY (id), 
	CONSTRAINT fk_invitations_organization_id_organizations FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE, 
	CONSTRAINT uq_invitations_hash UNIQUE (hash)
);
CREATE INDEX ix_invitations_organization_id ON invitations (organization_id);
CREATE TABLE nodes (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	holds_data BOOLEAN NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	registered_at DOUBLE PRECISION, 
	code_hash TEXT, 
	code_expires_at DOUBLE PRECISION, 
	online BOOLEAN DEFAULT false NOT NULL, 
	last_seen_at DOUBLE PRECISION, 
	version TEXT, 
	databases TEXT DEFAULT '[]' NOT NULL, 
	dialects TEXT DEFAULT '[]' NOT NULL, 
	runtimes TEXT DEFAULT '[]' NOT NULL, 
	CONSTRAINT pk_nodes PRIMARY KEY (id), 
	CONSTRAINT fk_nodes_organization_id_organizations FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE, 
	CONSTRAINT uq_nodes_code_hash UNIQUE (code_hash), 
	CONSTRAINT uq_nodes_name_key UNIQUE (name_key)
);
CREATE INDEX ix_nodes_organization_id ON nodes (organization_id);
CREATE TABLE roles (
	id TEXT NOT NULL, 
	organization_id TEXT, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	scopes TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT fk_roles_organization_id_organizations FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE, 
	CONSTRAINT uq_roles_organization_id_name_key UNIQUE (organization_id, name_key)
);
CREATE TABLE studies (
	id TEXT NOT NULL, 
	collaboration_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_studies PRIMARY KEY (id), 
	CONSTRAINT fk_studies_collaboration_id_collaborations FOREIGN KEY(collaboration_id) REFERENCES collaborations (id) ON DELETE CASCADE, 
	CONSTRAINT uq_studies_collaboration_id_name_key UNIQUE (collaboration_id, name_key)
);
CREATE TABLE users (
	id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	username TEXT NOT NULL, 
	username_key TEXT NOT NULL, 
	name TEXT NOT NULL, 
	password_hash TEXT NOT NULL, 
	disabled BOOLEAN NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT fk_users_organization_id_organizations FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE, 
	CONSTRAINT uq_users_username_key UNIQUE (username_key)
);
CREATE INDEX ix_users_organization_id ON users (organization_id);
CREATE TABLE collaboration_nodes (
	collaboration_id TEXT NOT NULL, 
	node_id TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_collaboration_nodes PRIMARY KEY (collaboration_id, node_id), 
	CONSTRAINT fk_collaboration_nodes_collaboration_id_collaborations FOREIGN KEY(collaboration_id) REFERENCES collaborations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_collaboration_nodes_node_id_nodes FOREIGN KEY(node_id) REFERENCES nodes (id) ON DELETE CASCADE
);
CREATE INDEX ix_collaboration_nodes_node_id ON collaboration_nodes (node_id);
CREATE TABLE logins (
	id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	last_used_at DOUBLE PRECISION NOT NULL, 
	expires_at DOUBLE PRECISION NOT NULL, 
	address TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	CONSTRAINT pk_logins PRIMARY KEY (id), 
	CONSTRAINT fk_logins_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX ix_logins_expires_at ON logins (expires_at);
CREATE INDEX ix_logins_user_id ON logins (user_id);
CREATE TABLE node_keys (
	hash TEXT NOT NULL, 
	node_id TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	ends_at DOUBLE PRECISION, 
	CONSTRAINT pk_node_keys PRIMARY KEY (hash), 
	CONSTRAINT fk_node_keys_node_id_nodes FOREIGN KEY(node_id) REFERENCES nodes (id) ON DELETE CASCADE
);
CREATE INDEX ix_node_keys_node_id ON node_keys (node_id);
CREATE TABLE personal_tokens (
	id TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	scopes TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	expires_at DOUBLE PRECISION NOT NULL, 
	last_used_at DOUBLE PRECISION, 
	CONSTRAINT pk_personal_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_personal_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT uq_personal_tokens_hash UNIQUE (hash)
);
CREATE INDEX ix_personal_tokens_user_id ON personal_tokens (user_id);
CREATE TABLE study_nodes (
	study_id TEXT NOT NULL, 
	node_id TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_study_nodes PRIMARY KEY (study_id, node_id), 
	CONSTRAINT fk_study_nodes_node_id_nodes FOREIGN KEY(node_id) REFERENCES nodes (id) ON DELETE CASCADE, 
	CONSTRAINT fk_study_nodes_study_id_studies FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
CREATE INDEX ix_study_nodes_node_id ON study_nodes (node_id);
CREATE TABLE user_roles (
	user_id TEXT NOT NULL, 
	role_id TEXT NOT NULL, 
	CONSTRAINT pk_user_roles PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_roles_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX ix_user_roles_role_id ON user_roles (role_id);
CREATE TABLE access_tokens (
	hash TEXT NOT NULL, 
	login_id TEXT NOT NULL, 
	expires_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_access_tokens PRIMARY KEY (hash), 
	CONSTRAINT fk_access_tokens_login_id_logins FOREIGN KEY(login_id) REFERENCES logins (id) ON DELETE CASCADE
);
CREATE INDEX ix_access_tokens_expires_at ON access_tokens (expires_at);
CREATE INDEX ix_access_tokens_login_id ON access_tokens (login_id);
CREATE TABLE node_tokens (
	hash TEXT NOT NULL, 
	node_id TEXT NOT NULL, 
	key_hash TEXT NOT NULL, 
	expires_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_node_tokens PRIMARY KEY (hash), 
	CONSTRAINT fk_node_tokens_key_hash_node_keys FOREIGN KEY(key_hash) REFERENCES node_keys (hash) ON DELETE CASCADE, 
	CONSTRAINT fk_node_tokens_node_id_nodes FOREIGN KEY(node_id) REFERENCES nodes (id) ON DELETE CASCADE
);
CREATE INDEX ix_node_tokens_expires_at ON node_tokens (expires_at);
CREATE INDEX ix_node_tokens_key_hash ON node_tokens (key_hash);
CREATE INDEX ix_node_tokens_node_id ON node_tokens (node_id);
CREATE TABLE refresh_tokens (
	hash TEXT NOT NULL, 
	login_id TEXT NOT NULL, 
	expires_at DOUBLE PRECISION NOT NULL, 
	used_at DOUBLE PRECISION, 
	CONSTRAINT pk_refresh_tokens PRIMARY KEY (hash), 
	CONSTRAINT fk_refresh_tokens_login_id_logins FOREIGN KEY(login_id) REFERENCES logins (id) ON DELETE CASCADE
);
CREATE INDEX ix_refresh_tokens_login_id ON refresh_tokens (login_id);
INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;
CREATE TABLE algorithms (
	digest TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	name TEXT NOT NULL, 
	manifest TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_algorithms PRIMARY KEY (digest)
);
CREATE TABLE event_cursor (
	id INTEGER NOT NULL, 
	value BIGINT NOT NULL, 
	gone BIGINT NOT NULL, 
	CONSTRAINT pk_event_cursor PRIMARY KEY (id)
);
INSERT INTO event_cursor (id, value, gone) VALUES (1, 0, 0);
CREATE TABLE events (
	cursor BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	subject_id TEXT NOT NULL, 
	run_id TEXT, 
	collaboration_id TEXT, 
	at DOUBLE PRECISION NOT NULL, 
	form TEXT NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (cursor)
);
CREATE INDEX ix_events_run_id_cursor ON events (run_id, cursor);
CREATE TABLE idempotency_keys (
	principal_id TEXT NOT NULL, 
	key TEXT NOT NULL, 
	request_digest TEXT NOT NULL, 
	status INTEGER, 
	answer BYTEA, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (principal_id, key)
);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
CREATE TABLE run_blobs (
	run_id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	is_whole BOOLEAN DEFAULT false NOT NULL, 
	uploader_id TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_run_blobs PRIMARY KEY (run_id, digest)
);
CREATE INDEX ix_run_blobs_created_at ON run_blobs (created_at);
CREATE TABLE runs (
	id TEXT NOT NULL, 
	collaboration_id TEXT, 
	study_id TEXT, 
	submitter_id TEXT, 
	organization_id TEXT, 
	name TEXT DEFAULT '' NOT NULL, 
	made TEXT NOT NULL, 
	status TEXT NOT NULL, 
	dropped TEXT NOT NULL, 
	failure TEXT, 
	round_count INTEGER NOT NULL, 
	call_round_count INTEGER NOT NULL, 
	job_count INTEGER NOT NULL, 
	main_round INTEGER NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	started_at DOUBLE PRECISION, 
	ended_at DOUBLE PRECISION, 
	deadline_at DOUBLE PRECISION, 
	bytes BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (id)
);
CREATE INDEX ix_runs_collaboration_id_created_at_id ON runs (collaboration_id, created_at, id);
CREATE INDEX ix_runs_created_at_id ON runs (created_at, id);
CREATE INDEX ix_runs_deadline_at ON runs (deadline_at) WHERE status = 'active' AND deadline_at IS NOT NULL;
CREATE INDEX ix_runs_submitter_id_created_at_id ON runs (submitter_id, created_at, id);
CREATE TABLE algorithm_places (
	digest TEXT NOT NULL, 
	collaboration_id TEXT NOT NULL, 
	uploader_id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	created_at DOUBLE PRECISION NOT NULL, 
	CONSTRAINT pk_algorithm_places PRIMARY KEY (digest, collaboration_id), 
	CONSTRAINT fk_algorithm_places_collaboration_id_collaborations FOREIGN KEY(collaboration_id) REFERENCES collaborations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_algorithm_places_digest_algorithms FOREIGN KEY(digest) REFERENCES algorithms (digest) ON DELETE CASCADE
);
CREATE INDEX ix_algorithm_places_collaboration_id ON algorithm_places (collaboration_id);
CREATE TABLE jobs (
	run_id TEXT NOT NULL, 
	round_number INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	seat TEXT NOT NULL, 
	node TEXT NOT NULL, 
	ordinal INTEGER NOT NULL, 
	inbox TEXT NOT NULL, 
	session TEXT, 
	asked INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	message_id TEXT, 
	final BOOLEAN DEFAULT false NOT NULL, 
	failure TEXT, 
	queued_at DOUBLE PRECISION NOT NULL, 
	claimed_at DOUBLE PRECISION, 
	ended_at DOUBLE PRECISION, 
	lease_until DOUBLE PRECISION, 
	fraction DOUBLE PRECISION, 
	progress_text TEXT, 
	CONSTRAINT pk_jobs PRIMARY KEY (run_id, round_number, position), 
	CONSTRAINT fk_jobs_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_jobs_node_active ON jobs (node, lease_until) WHERE status = 'active';
CREATE INDEX ix_jobs_node_queued ON jobs (node, queued_at, run_id, ordinal) WHERE status = 'queued';
CREATE INDEX ix_jobs_run_id_open ON jobs (run_id, round_number, position) WHERE status IN ('queued', 'active', 'held');
CREATE TABLE messages (
	run_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	kept TEXT NOT NULL, 
	round_number INTEGER NOT NULL, 
	sender TEXT NOT NULL, 
	readers TEXT NOT NULL, 
	body BYTEA NOT NULL, 
	body_blob TEXT, 
	blobs TEXT NOT NULL, 
	CONSTRAINT pk_messages PRIMARY KEY (run_id, id), 
	CONSTRAINT fk_messages_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_messages_run_id_kept_round_number ON messages (run_id, kept, round_number);
CREATE TABLE rounds (
	run_id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	iteration INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	work TEXT NOT NULL, 
	job_count INTEGER NOT NULL, 
	open_count INTEGER NOT NULL, 
	parent TEXT, 
	asker TEXT, 
	depth INTEGER NOT NULL, 
	origin TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	name TEXT NOT NULL, 
	is_over BOOLEAN DEFAULT false NOT NULL, 
	opened_at DOUBLE PRECISION NOT NULL, 
	ended_at DOUBLE PRECISION, 
	CONSTRAINT pk_rounds PRIMARY KEY (run_id, number), 
	CONSTRAINT fk_rounds_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_rounds_run_id_parent_iteration ON rounds (run_id, parent, iteration) WHERE parent IS NOT NULL;
CREATE TABLE run_logs (
	id BIGSERIAL NOT NULL, 
	run_id TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	seat TEXT NOT NULL, 
	at DOUBLE PRECISION NOT NULL, 
	level TEXT NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT pk_run_logs PRIMARY KEY (id), 
	CONSTRAINT fk_run_logs_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_run_logs_run_id_id ON run_logs (run_id, id);
CREATE INDEX ix_run_logs_run_id_seat_id ON run_logs (run_id, seat, id);
CREATE TABLE settled (
	run_id TEXT NOT NULL, 
	step INTEGER NOT NULL, 
	seat TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	CONSTRAINT pk_settled PRIMARY KEY (run_id, step, seat), 
	CONSTRAINT fk_settled_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE TABLE message_blobs (
	run_id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	CONSTRAINT pk_message_blobs PRIMARY KEY (run_id, digest, message_id), 
	CONSTRAINT fk_message_blobs_run_id_message_id_messages FOREIGN KEY(run_id, message_id) REFERENCES messages (run_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_message_blobs_run_id_message_id ON message_blobs (run_id, message_id);
UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';
