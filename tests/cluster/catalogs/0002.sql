-- A catalog of the second revision: that of the first moved forward, with a job that nobody drives, tags, a mark, a lease,
-- and the table that the HTTP API made for itself then.

CREATE TABLE jobs (
    id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    config JSON NOT NULL,
    requirement JSON NOT NULL,
    outputs JSON NOT NULL,
    inputs JSON NOT NULL,
    created_by VARCHAR NOT NULL,
    created_at DOUBLE NOT NULL,
    updated_at DOUBLE NOT NULL,
    attempt BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    cancel VARCHAR,
    done BIGINT,
    total BIGINT,
    unit VARCHAR,
    rate DOUBLE,
    message VARCHAR,
    code VARCHAR,
    retryable BOOLEAN NOT NULL,
    resumable BOOLEAN NOT NULL,
    last_event BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    parent VARCHAR,
    project VARCHAR NOT NULL,
    name VARCHAR,
    tags JSON NOT NULL,
    notes VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    environment JSON NOT NULL,
    wait_s DOUBLE NOT NULL,
    waiting_since DOUBLE,
    deadline DOUBLE,
    retry_at DOUBLE,
    clock_boot VARCHAR,
    clock_ahead DOUBLE NOT NULL,
    blocked JSON,
    tries BIGINT NOT NULL,
    phase VARCHAR,
    durable BIGINT,
    safe JSON NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT jobs_parent_fkey FOREIGN KEY(parent) REFERENCES jobs (id) ON DELETE SET NULL
);

CREATE UNIQUE INDEX job_names ON jobs (name, project);

CREATE INDEX jobs_by_fingerprint ON jobs (fingerprint);

CREATE INDEX jobs_by_parent ON jobs (parent);

CREATE UNIQUE INDEX jobs_by_seq ON jobs (seq);

CREATE INDEX jobs_listed ON jobs (seq, stage, state, project, created_by);

CREATE INDEX live_jobs ON jobs (seq) WHERE state IN ('CANCELLING', 'QUEUED', 'RUNNING', 'WAITING');

CREATE UNIQUE INDEX one_live_job ON jobs (fingerprint) WHERE state IN ('CANCELLING', 'QUEUED', 'RUNNING', 'WAITING');

CREATE TABLE artifacts (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    job_id VARCHAR,
    attempt BIGINT NOT NULL,
    stage VARCHAR NOT NULL,
    stage_version BIGINT NOT NULL,
    label VARCHAR NOT NULL,
    inputs JSON NOT NULL,
    summary JSON NOT NULL,
    bytes BIGINT NOT NULL,
    created_at DOUBLE NOT NULL,
    seq BIGINT NOT NULL,
    created_by VARCHAR NOT NULL,
    project VARCHAR NOT NULL,
    name VARCHAR,
    tags JSON NOT NULL,
    notes VARCHAR NOT NULL,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);

CREATE UNIQUE INDEX artifact_names ON artifacts (name, project, kind);

CREATE INDEX artifacts_by_job ON artifacts (job_id);

CREATE INDEX artifacts_by_kind ON artifacts (kind, seq);

CREATE UNIQUE INDEX artifacts_by_seq ON artifacts (seq);

CREATE TABLE activations (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    model VARCHAR,
    tokens VARCHAR,
    hook VARCHAR,
    hooks JSON,
    dtype VARCHAR,
    split VARCHAR,
    rows BIGINT,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_activations CHECK (kind = 'activations')
);

CREATE INDEX activations_by_model ON activations (model, hook);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE artifact_inputs (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    input_kind VARCHAR NOT NULL,
    input_id VARCHAR NOT NULL,
    PRIMARY KEY (kind, id, role),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE
);

CREATE INDEX artifact_inputs_by_input ON artifact_inputs (input_kind, input_id);

CREATE TABLE artifact_tags (
    tag VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    PRIMARY KEY (tag, seq),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE
);

CREATE INDEX artifact_tags_by_artifact ON artifact_tags (kind, id);

CREATE TABLE attempts (
    job_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    host VARCHAR,
    pid BIGINT,
    process VARCHAR,
    heartbeat DOUBLE,
    started_at DOUBLE NOT NULL,
    ended_at DOUBLE,
    code VARCHAR,
    message VARCHAR,
    granted_at DOUBLE,
    ray_job VARCHAR,
    cluster VARCHAR,
    PRIMARY KEY (job_id, number),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE counters (
    name VARCHAR NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE datasets (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    documents BIGINT,
    text_bytes BIGINT,
    splits JSON,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_datasets CHECK (kind = 'datasets')
);

CREATE TABLE evaluations (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    sae VARCHAR,
    split VARCHAR,
    rows BIGINT,
    tokens BIGINT,
    ev DOUBLE,
    l0 DOUBLE,
    alive BIGINT,
    ce_score DOUBLE,
    kl_score DOUBLE,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_evaluations CHECK (kind = 'evaluations')
);

CREATE INDEX evaluations_by_sae ON evaluations (sae);

CREATE TABLE events (
    job_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    at DOUBLE NOT NULL,
    kind VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    message VARCHAR,
    seq BIGINT NOT NULL,
    data JSON,
    PRIMARY KEY (job_id, number),
    FOREIGN KEY(job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
);

CREATE UNIQUE INDEX events_by_seq ON events (seq);

CREATE TABLE feature_marks (
    sae VARCHAR NOT NULL,
    latent BIGINT NOT NULL,
    starred BOOLEAN NOT NULL,
    label VARCHAR NOT NULL,
    notes VARCHAR NOT NULL,
    updated_by VARCHAR NOT NULL,
    updated_at DOUBLE NOT NULL,
    PRIMARY KEY (sae, latent)
);

CREATE TABLE feature_sets (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    sae VARCHAR,
    hook VARCHAR,
    split VARCHAR,
    rows BIGINT,
    data_positions BIGINT,
    count BIGINT,
    alive BIGINT,
    l0 DOUBLE,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_features CHECK (kind = 'features')
);

CREATE INDEX feature_sets_by_sae ON feature_sets (sae);

CREATE TABLE idempotency (
    owner VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    request VARCHAR NOT NULL,
    job_id VARCHAR,
    created_at DOUBLE NOT NULL,
    PRIMARY KEY (owner, key)
);

CREATE INDEX ix_idempotency_created_at ON idempotency (created_at);

CREATE TABLE job_tags (
    tag VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    job_id VARCHAR NOT NULL,
    PRIMARY KEY (tag, seq),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_job_tags_job_id ON job_tags (job_id);

CREATE TABLE leases (
    name VARCHAR NOT NULL,
    holder VARCHAR NOT NULL,
    until DOUBLE NOT NULL,
    ttl_s DOUBLE NOT NULL,
    renewals BIGINT NOT NULL,
    host VARCHAR NOT NULL,
    pid BIGINT NOT NULL,
    process VARCHAR NOT NULL,
    boot VARCHAR,
    boot_seconds DOUBLE NOT NULL,
    data JSON NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE models (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    architecture VARCHAR,
    d_model BIGINT,
    layers BIGINT,
    vocab_size BIGINT,
    parameters BIGINT,
    context_length BIGINT,
    dtype VARCHAR,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_models CHECK (kind = 'models')
);

CREATE INDEX models_by_architecture ON models (architecture);

CREATE TABLE saes (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    model VARCHAR,
    tokens VARCHAR,
    hook VARCHAR,
    architecture VARCHAR,
    d_sae BIGINT,
    k BIGINT,
    evaluation VARCHAR,
    ev DOUBLE,
    l0 DOUBLE,
    alive BIGINT,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_saes CHECK (kind = 'saes')
);

CREATE INDEX saes_by_model ON saes (model, hook);

CREATE INDEX saes_by_tokens ON saes (tokens);

CREATE TABLE tokenizations (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    dataset VARCHAR,
    model VARCHAR,
    context_length BIGINT,
    rows BIGINT,
    tokens BIGINT,
    data_tokens BIGINT,
    documents BIGINT,
    splits JSON,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(kind, id) REFERENCES artifacts (kind, id) ON DELETE CASCADE,
    CONSTRAINT is_of_tokens CHECK (kind = 'tokens')
);

CREATE INDEX tokenizations_by_dataset ON tokenizations (dataset);

CREATE INDEX tokenizations_by_model ON tokenizations (model);

INSERT INTO jobs (id, stage, fingerprint, config, requirement, outputs, inputs, created_by, created_at, updated_at, attempt, state, cancel, done, total, unit, rate, message, code, retryable, resumable, last_event, seq, parent, project, name, tags, notes, profile, environment, wait_s, waiting_since, deadline, retry_at, clock_boot, clock_ahead, blocked, tries, phase, durable, safe) VALUES
('download-0000000001', 'download', 'aaaaaaaaaaaaaaaa', '{"stage": "download", "what": "model"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["models/1111111111111111"]', '{}', 'ada', 1763000001.5, 1763000016.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 1, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('download-0000000002', 'download', 'bbbbbbbbbbbbbbbb', '{"stage": "download", "what": "dataset"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["datasets/2222222222222222"]', '{}', 'ada', 1763000019.5, 1763000034.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 2, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('tokenize-0000000003', 'tokenize', 'cccccccccccccccc', '{"stage": "tokenize", "context_length": 32}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["tokens/3333333333333333"]', '{"dataset": "datasets/2222222222222222", "model": "models/1111111111111111"}', 'ada', 1763000037.5, 1763000052.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 3, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('harvest-0000000004', 'harvest', 'dddddddddddddddd', '{"stage": "harvest", "hooks": ["blocks.1.hook_resid_post"], "dtype": "bf16", "split": "train"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["activations/7777777777777777"]', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333"}', 'bob', 1763000055.5, 1763000070.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 4, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('train-0000000005', 'train', 'eeeeeeeeeeeeeeee', '{"stage": "train", "saes": [{"architecture": "topk", "d_sae": 256, "k": 8, "hook": "blocks.1.hook_resid_post"}]}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["saes/4444444444444444"]', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333", "activations": "activations/7777777777777777"}', 'bob', 1763000073.5, 1763000088.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 5, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('evaluate-0000000006', 'evaluate', 'ffffffffffffffff', '{"stage": "evaluate"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["evaluations/5555555555555555"]', '{"sae": "saes/4444444444444444"}', 'ada', 1763000091.5, 1763000106.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 6, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('extract-0000000007', 'extract', '0000000000000000', '{"stage": "extract"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["features/6666666666666666"]', '{"sae": "saes/4444444444444444"}', 'ada', 1763000109.5, 1763000124.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, FALSE, FALSE, 5, 7, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('train-0000000008', 'train', '1111111111111111', '{"stage": "train", "saes": []}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '[]', '{"model": "models/1111111111111111"}', 'ada', 1763000127.5, 1762999654.5, 2, 'CANCELLED', 'stop', NULL, NULL, NULL, NULL, 'stop requested', 'stopped', FALSE, TRUE, 7, 8, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('train-0000000009', 'train', '2222222222222222', '{"stage": "train", "saes": []}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["saes/8888888888888888"]', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333"}', 'ada', 1763000257.5, 1763000268.0, 1, 'RUNNING', NULL, 1, 8, 'rows', 0.5, 'waits for 2 GPU', NULL, FALSE, FALSE, 3, 9, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('report-000000000a', 'report', '3333333333333333', '{"stage": "report"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["reports/9999999999999999"]', '{"features": "features/6666666666666666", "evaluation": "evaluations/5555555555555555"}', 'ada', 1763000271.0, 1763000271.0, 1, 'QUEUED', NULL, NULL, NULL, NULL, NULL, NULL, NULL, FALSE, FALSE, 1, 10, NULL, 'default', NULL, '[]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}'),
('train-5427b9a63b', 'train', '8888888888888888', '{"k": 32}', '{"cpus": 1}', '["saes/0123456789abcdef"]', '{"tokens": "tokens/0123456789abcdef"}', 'ada', 1795556385.8735888, 1795556385.8735888, 1, 'QUEUED', NULL, NULL, NULL, NULL, NULL, NULL, NULL, FALSE, FALSE, 1, 11, NULL, 'default', 'mine', '["a", "b"]', '', 'auto', '{}', 600.0, NULL, NULL, NULL, NULL, 0.0, NULL, 0, NULL, NULL, '{}');

INSERT INTO artifacts (kind, id, job_id, attempt, stage, stage_version, label, inputs, summary, bytes, created_at, seq, created_by, project, name, tags, notes) VALUES
('models', '1111111111111111', 'download-0000000001', 1, 'download', 1, 'tiny', '{}', '{"architecture": "gpt2", "model_type": "gpt2", "n_layers": 2, "d_model": 64, "vocab_size": 512, "context_length": 128, "parameters": 123456, "dtype": "float32", "tied_embeddings": true}', 1024, 1763000013.5, 1, 'ada', 'default', NULL, '[]', ''),
('datasets', '2222222222222222', 'download-0000000002', 1, 'download', 1, 'it''s a text; really', '{}', '{"documents": 12, "text_bytes": 3456, "splits": {"train": {"documents": 11, "text_bytes": 3000}, "test": {"documents": 1, "text_bytes": 456}}, "columns": ["text"]}', 1024, 1763000031.5, 2, 'ada', 'default', NULL, '[]', ''),
('tokens', '3333333333333333', 'tokenize-0000000003', 1, 'tokenize', 1, 'rows of 32 tokens', '{"dataset": "datasets/2222222222222222", "model": "models/1111111111111111"}', '{"rows": 40, "tokens": 1200, "data_tokens": 1100, "documents": 12, "splits": {"train": {"rows": 36}, "test": {"rows": 4}}}', 1024, 1763000049.5, 3, 'ada', 'default', NULL, '[]', ''),
('activations', '7777777777777777', 'harvest-0000000004', 1, 'harvest', 1, 'blocks.1.hook_resid_post (bf16)', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333"}', '{"rows": 36, "dtype": "bf16"}', 1024, 1763000067.5, 4, 'bob', 'default', NULL, '[]', ''),
('saes', '4444444444444444', 'train-0000000005', 1, 'train', 1, 'topk 256 k=8 at blocks.1.hook_resid_post', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333", "activations": "activations/7777777777777777"}', '{"step": 9, "ev": 0.5}', 1024, 1763000085.5, 5, 'bob', 'default', NULL, '[]', ''),
('evaluations', '5555555555555555', 'evaluate-0000000006', 1, 'evaluate', 1, 'of saes/4444444444444444', '{"sae": "saes/4444444444444444"}', '{"sae": "saes/4444444444444444", "split": "test", "rows": 4, "tokens": 110, "ev": 0.71, "l0": 8.0, "alive": 201, "ce_score_zero": 0.9, "kl_score_zero": 0.8}', 1024, 1763000103.5, 6, 'ada', 'default', NULL, '[]', ''),
('features', '6666666666666666', 'extract-0000000007', 1, 'extract', 1, 'of saes/4444444444444444', '{"sae": "saes/4444444444444444"}', '{"sae": "saes/4444444444444444", "hook": "blocks.1.hook_resid_post", "split": "train", "rows": 36, "tokens": 1152, "data_positions": 1100, "n_features": 256, "alive": 199, "l0": 8.0, "excluded": {}}', 1024, 1763000121.5, 7, 'ada', 'default', NULL, '[]', '');

INSERT INTO activations (kind, id, model, tokens, hook, hooks, dtype, split, rows) VALUES
('activations', '7777777777777777', 'models/1111111111111111', 'tokens/3333333333333333', 'blocks.1.hook_resid_post', '["blocks.1.hook_resid_post"]', 'bf16', 'train', 36);

INSERT INTO alembic_version (version_num) VALUES
('0002');

INSERT INTO artifact_inputs (kind, id, role, input_kind, input_id) VALUES
('tokens', '3333333333333333', 'dataset', 'datasets', '2222222222222222'),
('tokens', '3333333333333333', 'model', 'models', '1111111111111111'),
('activations', '7777777777777777', 'model', 'models', '1111111111111111'),
('activations', '7777777777777777', 'tokens', 'tokens', '3333333333333333'),
('saes', '4444444444444444', 'model', 'models', '1111111111111111'),
('saes', '4444444444444444', 'tokens', 'tokens', '3333333333333333'),
('saes', '4444444444444444', 'activations', 'activations', '7777777777777777'),
('evaluations', '5555555555555555', 'sae', 'saes', '4444444444444444'),
('features', '6666666666666666', 'sae', 'saes', '4444444444444444');

INSERT INTO attempts (job_id, number, state, host, pid, process, heartbeat, started_at, ended_at, code, message, granted_at, ray_job, cluster) VALUES
('download-0000000001', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000010.5, 1763000001.5, 1763000016.5, NULL, NULL, NULL, NULL, NULL),
('download-0000000002', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000028.5, 1763000019.5, 1763000034.5, NULL, NULL, NULL, NULL, NULL),
('tokenize-0000000003', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000046.5, 1763000037.5, 1763000052.5, NULL, NULL, NULL, NULL, NULL),
('harvest-0000000004', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000064.5, 1763000055.5, 1763000070.5, NULL, NULL, NULL, NULL, NULL),
('train-0000000005', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000082.5, 1763000073.5, 1763000088.5, NULL, NULL, NULL, NULL, NULL),
('evaluate-0000000006', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000100.5, 1763000091.5, 1763000106.5, NULL, NULL, NULL, NULL, NULL),
('extract-0000000007', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000118.5, 1763000109.5, 1763000124.5, NULL, NULL, NULL, NULL, NULL),
('train-0000000008', 1, 'FAILED', 'head', 4242, 'a-boot-that-is-over:17', 1763000132.0, 1763000127.5, 1763000136.5, 'out_of_memory', 'it doesn''t fit', NULL, NULL, NULL),
('train-0000000008', 2, 'CANCELLED', 'head', 4242, 'a-boot-that-is-over:17', 1762999645.5, 1762999639.5, 1762999654.5, 'stopped', NULL, NULL, NULL, NULL),
('train-0000000009', 1, 'RUNNING', 'head', 4242, 'a-boot-that-is-over:17', 1763000266.5, 1763000257.5, NULL, NULL, NULL, NULL, NULL, NULL),
('report-000000000a', 1, 'QUEUED', 'head', 4242, 'a-boot-that-is-over:17', 1763000271.0, 1763000271.0, NULL, NULL, NULL, NULL, NULL, NULL),
('train-5427b9a63b', 1, 'QUEUED', NULL, NULL, NULL, NULL, 1795556385.8779917, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO counters (name, value) VALUES
('jobs', 11),
('artifacts', 7),
('events', 47);

INSERT INTO datasets (kind, id, documents, text_bytes, splits) VALUES
('datasets', '2222222222222222', 12, 3456, '{"train": {"documents": 11, "text_bytes": 3000}, "test": {"documents": 1, "text_bytes": 456}}');

INSERT INTO evaluations (kind, id, sae, split, rows, tokens, ev, l0, alive, ce_score, kl_score) VALUES
('evaluations', '5555555555555555', 'saes/4444444444444444', 'test', 4, 110, 0.71, 8.0, 201, 0.9, 0.8);

INSERT INTO events (job_id, number, attempt, at, kind, state, message, seq, data) VALUES
('download-0000000001', 1, 1, 1763000003.0, 'state', 'QUEUED', 'attempt 1', 1, NULL),
('download-0000000001', 2, 1, 1763000009.0, 'state', 'RUNNING', NULL, 2, NULL),
('download-0000000001', 3, 1, 1763000012.0, 'log', 'RUNNING', 'half way', 3, NULL),
('download-0000000001', 4, 1, 1763000015.0, 'log', 'RUNNING', 'published models/1111111111111111', 4, NULL),
('download-0000000001', 5, 1, 1763000018.0, 'state', 'SUCCEEDED', NULL, 5, NULL),
('download-0000000002', 1, 1, 1763000021.0, 'state', 'QUEUED', 'attempt 1', 6, NULL),
('download-0000000002', 2, 1, 1763000027.0, 'state', 'RUNNING', NULL, 7, NULL),
('download-0000000002', 3, 1, 1763000030.0, 'log', 'RUNNING', 'half way', 8, NULL),
('download-0000000002', 4, 1, 1763000033.0, 'log', 'RUNNING', 'published datasets/2222222222222222', 9, NULL),
('download-0000000002', 5, 1, 1763000036.0, 'state', 'SUCCEEDED', NULL, 10, NULL),
('tokenize-0000000003', 1, 1, 1763000039.0, 'state', 'QUEUED', 'attempt 1', 11, NULL),
('tokenize-0000000003', 2, 1, 1763000045.0, 'state', 'RUNNING', NULL, 12, NULL),
('tokenize-0000000003', 3, 1, 1763000048.0, 'log', 'RUNNING', 'half way', 13, NULL),
('tokenize-0000000003', 4, 1, 1763000051.0, 'log', 'RUNNING', 'published tokens/3333333333333333', 14, NULL),
('tokenize-0000000003', 5, 1, 1763000054.0, 'state', 'SUCCEEDED', NULL, 15, NULL),
('harvest-0000000004', 1, 1, 1763000057.0, 'state', 'QUEUED', 'attempt 1', 16, NULL),
('harvest-0000000004', 2, 1, 1763000063.0, 'state', 'RUNNING', NULL, 17, NULL),
('harvest-0000000004', 3, 1, 1763000066.0, 'log', 'RUNNING', 'half way', 18, NULL),
('harvest-0000000004', 4, 1, 1763000069.0, 'log', 'RUNNING', 'published activations/7777777777777777', 19, NULL),
('harvest-0000000004', 5, 1, 1763000072.0, 'state', 'SUCCEEDED', NULL, 20, NULL),
('train-0000000005', 1, 1, 1763000075.0, 'state', 'QUEUED', 'attempt 1', 21, NULL),
('train-0000000005', 2, 1, 1763000081.0, 'state', 'RUNNING', NULL, 22, NULL),
('train-0000000005', 3, 1, 1763000084.0, 'log', 'RUNNING', 'half way', 23, NULL),
('train-0000000005', 4, 1, 1763000087.0, 'log', 'RUNNING', 'published saes/4444444444444444', 24, NULL),
('train-0000000005', 5, 1, 1763000090.0, 'state', 'SUCCEEDED', NULL, 25, NULL),
('evaluate-0000000006', 1, 1, 1763000093.0, 'state', 'QUEUED', 'attempt 1', 26, NULL),
('evaluate-0000000006', 2, 1, 1763000099.0, 'state', 'RUNNING', NULL, 27, NULL),
('evaluate-0000000006', 3, 1, 1763000102.0, 'log', 'RUNNING', 'half way', 28, NULL),
('evaluate-0000000006', 4, 1, 1763000105.0, 'log', 'RUNNING', 'published evaluations/5555555555555555', 29, NULL),
('evaluate-0000000006', 5, 1, 1763000108.0, 'state', 'SUCCEEDED', NULL, 30, NULL),
('extract-0000000007', 1, 1, 1763000111.0, 'state', 'QUEUED', 'attempt 1', 31, NULL),
('extract-0000000007', 2, 1, 1763000117.0, 'state', 'RUNNING', NULL, 32, NULL),
('extract-0000000007', 3, 1, 1763000120.0, 'log', 'RUNNING', 'half way', 33, NULL),
('extract-0000000007', 4, 1, 1763000123.0, 'log', 'RUNNING', 'published features/6666666666666666', 34, NULL),
('extract-0000000007', 5, 1, 1763000126.0, 'state', 'SUCCEEDED', NULL, 35, NULL),
('train-0000000008', 1, 1, 1763000129.0, 'state', 'QUEUED', 'attempt 1', 36, NULL),
('train-0000000008', 2, 1, 1763000135.0, 'state', 'RUNNING', NULL, 37, NULL),
('train-0000000008', 3, 1, 1763000138.0, 'state', 'FAILED', 'it doesn''t fit', 38, NULL),
('train-0000000008', 4, 2, 1762999642.5, 'state', 'QUEUED', 'attempt 2', 39, NULL),
('train-0000000008', 5, 2, 1762999648.5, 'state', 'RUNNING', 'going on', 40, NULL),
('train-0000000008', 6, 2, 1762999653.0, 'state', 'CANCELLING', 'stop requested', 41, NULL),
('train-0000000008', 7, 2, 1762999656.0, 'state', 'CANCELLED', NULL, 42, NULL),
('train-0000000009', 1, 1, 1763000259.0, 'state', 'QUEUED', 'attempt 1', 43, NULL),
('train-0000000009', 2, 1, 1763000265.0, 'state', 'WAITING', 'waits for 2 GPU', 44, NULL),
('train-0000000009', 3, 1, 1763000269.5, 'state', 'RUNNING', NULL, 45, NULL),
('report-000000000a', 1, 1, 1763000272.5, 'state', 'QUEUED', 'attempt 1', 46, NULL),
('train-5427b9a63b', 1, 1, 1795556385.8794456, 'state', 'QUEUED', 'attempt 1', 47, NULL);

INSERT INTO feature_marks (sae, latent, starred, label, notes, updated_by, updated_at) VALUES
('saes/4444444444444444', 7, TRUE, 'a label', '', 'ada', 1795556385.8675063);

INSERT INTO feature_sets (kind, id, sae, hook, split, rows, data_positions, count, alive, l0) VALUES
('features', '6666666666666666', 'saes/4444444444444444', 'blocks.1.hook_resid_post', 'train', 36, 1100, 256, 199, 8.0);

INSERT INTO idempotency (owner, key, request, job_id, created_at) VALUES
('token', 'key', 'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', 'train-0000000005', 1795556385.8479872);

INSERT INTO job_tags (tag, seq, job_id) VALUES
('a', 11, 'train-5427b9a63b'),
('b', 11, 'train-5427b9a63b');

INSERT INTO leases (name, holder, until, ttl_s, renewals, host, pid, process, boot, boot_seconds, data) VALUES
('dispatcher', 'one', 1795556415.8964446, 30.0, 1, 'head', 4242, '4242 1', 'boot', 12435.662971198, '{}');

INSERT INTO models (kind, id, architecture, d_model, layers, vocab_size, parameters, context_length, dtype) VALUES
('models', '1111111111111111', 'gpt2', 64, 2, 512, 123456, 128, 'float32');

INSERT INTO saes (kind, id, model, tokens, hook, architecture, d_sae, k, evaluation, ev, l0, alive) VALUES
('saes', '4444444444444444', 'models/1111111111111111', 'tokens/3333333333333333', 'blocks.1.hook_resid_post', 'topk', 256, 8, 'evaluations/5555555555555555', 0.71, 8.0, 201);

INSERT INTO tokenizations (kind, id, dataset, model, context_length, rows, tokens, data_tokens, documents, splits) VALUES
('tokens', '3333333333333333', 'datasets/2222222222222222', 'models/1111111111111111', 32, 40, 1200, 1100, 12, '{"train": {"rows": 36}, "test": {"rows": 4}}');
