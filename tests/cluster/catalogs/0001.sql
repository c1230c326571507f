-- A catalog as the first version made it: no alembic_version, its tables, and some rows.

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
    PRIMARY KEY (id)
);

CREATE INDEX jobs_by_fingerprint ON jobs (fingerprint);

CREATE UNIQUE INDEX one_live_job ON jobs (fingerprint) WHERE state IN ('CANCELLING', 'QUEUED', 'RUNNING', 'WAITING');

CREATE TABLE artifacts (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    stage VARCHAR NOT NULL,
    stage_version BIGINT NOT NULL,
    label VARCHAR NOT NULL,
    inputs JSON NOT NULL,
    summary JSON NOT NULL,
    bytes BIGINT NOT NULL,
    created_at DOUBLE NOT NULL,
    PRIMARY KEY (kind, id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);

CREATE TABLE attempts (
    job_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    host VARCHAR NOT NULL,
    pid BIGINT NOT NULL,
    process VARCHAR NOT NULL,
    heartbeat DOUBLE NOT NULL,
    started_at DOUBLE NOT NULL,
    ended_at DOUBLE,
    code VARCHAR,
    message VARCHAR,
    PRIMARY KEY (job_id, number),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE events (
    job_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    at DOUBLE NOT NULL,
    kind VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    message VARCHAR,
    PRIMARY KEY (job_id, number),
    FOREIGN KEY(job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
);

INSERT INTO jobs (id, stage, fingerprint, config, requirement, outputs, inputs, created_by, created_at, updated_at, attempt, state, cancel, done, total, unit, rate, message, code, retryable, resumable, last_event) VALUES
  ('download-0000000001', 'download', 'aaaaaaaaaaaaaaaa', '{"stage": "download", "what": "model"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["models/1111111111111111"]', '{}', 'ada', 1763000001.5, 1763000016.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('download-0000000002', 'download', 'bbbbbbbbbbbbbbbb', '{"stage": "download", "what": "dataset"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["datasets/2222222222222222"]', '{}', 'ada', 1763000019.5, 1763000034.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('tokenize-0000000003', 'tokenize', 'cccccccccccccccc', '{"stage": "tokenize", "context_length": 32}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["tokens/3333333333333333"]', '{"dataset": "datasets/2222222222222222", "model": "models/1111111111111111"}', 'ada', 1763000037.5, 1763000052.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('harvest-0000000004', 'harvest', 'dddddddddddddddd', '{"stage": "harvest", "hooks": ["blocks.1.hook_resid_post"], "dtype": "bf16", "split": "train"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["activations/7777777777777777"]', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333"}', 'bob', 1763000055.5, 1763000070.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('train-0000000005', 'train', 'eeeeeeeeeeeeeeee', '{"stage": "train", "saes": [{"architecture": "topk", "d_sae": 256, "k": 8, "hook": "blocks.1.hook_resid_post"}]}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["saes/4444444444444444"]', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333", "activations": "activations/7777777777777777"}', 'bob', 1763000073.5, 1763000088.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('evaluate-0000000006', 'evaluate', 'ffffffffffffffff', '{"stage": "evaluate"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["evaluations/5555555555555555"]', '{"sae": "saes/4444444444444444"}', 'ada', 1763000091.5, 1763000106.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('extract-0000000007', 'extract', '0000000000000000', '{"stage": "extract"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["features/6666666666666666"]', '{"sae": "saes/4444444444444444"}', 'ada', 1763000109.5, 1763000124.5, 1, 'SUCCEEDED', NULL, 9, 10, 'rows', 3.5, 'half way', NULL, '0', '0', 5),
  ('train-0000000008', 'train', '1111111111111111', '{"stage": "train", "saes": []}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '[]', '{"model": "models/1111111111111111"}', 'ada', 1763000127.5, 1762999654.5, 2, 'CANCELLED', 'stop', NULL, NULL, NULL, NULL, 'stop requested', 'stopped', '0', '1', 7),
  ('train-0000000009', 'train', '2222222222222222', '{"stage": "train", "saes": []}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["saes/8888888888888888"]', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333"}', 'ada', 1763000257.5, 1763000268.0, 1, 'RUNNING', NULL, 1, 8, 'rows', 0.5, 'waits for 2 GPU', NULL, '0', '0', 3),
  ('report-000000000a', 'report', '3333333333333333', '{"stage": "report"}', '{"workers": 1, "cpus": 1.0, "cluster": "own:4242", "ray_job": null}', '["reports/9999999999999999"]', '{"features": "features/6666666666666666", "evaluation": "evaluations/5555555555555555"}', 'ada', 1763000271.0, 1763000271.0, 1, 'QUEUED', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '0', '0', 1);

INSERT INTO attempts (job_id, number, state, host, pid, process, heartbeat, started_at, ended_at, code, message) VALUES
  ('download-0000000001', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000010.5, 1763000001.5, 1763000016.5, NULL, NULL),
  ('download-0000000002', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000028.5, 1763000019.5, 1763000034.5, NULL, NULL),
  ('tokenize-0000000003', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000046.5, 1763000037.5, 1763000052.5, NULL, NULL),
  ('harvest-0000000004', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000064.5, 1763000055.5, 1763000070.5, NULL, NULL),
  ('train-0000000005', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000082.5, 1763000073.5, 1763000088.5, NULL, NULL),
  ('evaluate-0000000006', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000100.5, 1763000091.5, 1763000106.5, NULL, NULL),
  ('extract-0000000007', 1, 'SUCCEEDED', 'head', 4242, 'a-boot-that-is-over:17', 1763000118.5, 1763000109.5, 1763000124.5, NULL, NULL),
  ('train-0000000008', 1, 'FAILED', 'head', 4242, 'a-boot-that-is-over:17', 1763000132.0, 1763000127.5, 1763000136.5, 'out_of_memory', 'it doesn''t fit'),
  ('train-0000000008', 2, 'CANCELLED', 'head', 4242, 'a-boot-that-is-over:17', 1762999645.5, 1762999639.5, 1762999654.5, 'stopped', NULL),
  ('train-0000000009', 1, 'RUNNING', 'head', 4242, 'a-boot-that-is-over:17', 1763000266.5, 1763000257.5, NULL, NULL, NULL),
  ('report-000000000a', 1, 'QUEUED', 'head', 4242, 'a-boot-that-is-over:17', 1763000271.0, 1763000271.0, NULL, NULL, NULL);

INSERT INTO events (job_id, number, attempt, at, kind, state, message) VALUES
  ('download-0000000001', 1, 1, 1763000003.0, 'state', 'QUEUED', 'attempt 1'),
  ('download-0000000001', 2, 1, 1763000009.0, 'state', 'RUNNING', NULL),
  ('download-0000000001', 3, 1, 1763000012.0, 'log', 'RUNNING', 'half way'),
  ('download-0000000001', 4, 1, 1763000015.0, 'log', 'RUNNING', 'published models/1111111111111111'),
  ('download-0000000001', 5, 1, 1763000018.0, 'state', 'SUCCEEDED', NULL),
  ('download-0000000002', 1, 1, 1763000021.0, 'state', 'QUEUED', 'attempt 1'),
  ('download-0000000002', 2, 1, 1763000027.0, 'state', 'RUNNING', NULL),
  ('download-0000000002', 3, 1, 1763000030.0, 'log', 'RUNNING', 'half way'),
  ('download-0000000002', 4, 1, 1763000033.0, 'log', 'RUNNING', 'published datasets/2222222222222222'),
  ('download-0000000002', 5, 1, 1763000036.0, 'state', 'SUCCEEDED', NULL),
  ('tokenize-0000000003', 1, 1, 1763000039.0, 'state', 'QUEUED', 'attempt 1'),
  ('tokenize-0000000003', 2, 1, 1763000045.0, 'state', 'RUNNING', NULL),
  ('tokenize-0000000003', 3, 1, 1763000048.0, 'log', 'RUNNING', 'half way'),
  ('tokenize-0000000003', 4, 1, 1763000051.0, 'log', 'RUNNING', 'published tokens/3333333333333333'),
  ('tokenize-0000000003', 5, 1, 1763000054.0, 'state', 'SUCCEEDED', NULL),
  ('harvest-0000000004', 1, 1, 1763000057.0, 'state', 'QUEUED', 'attempt 1'),
  ('harvest-0000000004', 2, 1, 1763000063.0, 'state', 'RUNNING', NULL),
  ('harvest-0000000004', 3, 1, 1763000066.0, 'log', 'RUNNING', 'half way'),
  ('harvest-0000000004', 4, 1, 1763000069.0, 'log', 'RUNNING', 'published activations/7777777777777777'),
  ('harvest-0000000004', 5, 1, 1763000072.0, 'state', 'SUCCEEDED', NULL),
  ('train-0000000005', 1, 1, 1763000075.0, 'state', 'QUEUED', 'attempt 1'),
  ('train-0000000005', 2, 1, 1763000081.0, 'state', 'RUNNING', NULL),
  ('train-0000000005', 3, 1, 1763000084.0, 'log', 'RUNNING', 'half way'),
  ('train-0000000005', 4, 1, 1763000087.0, 'log', 'RUNNING', 'published saes/4444444444444444'),
  ('train-0000000005', 5, 1, 1763000090.0, 'state', 'SUCCEEDED', NULL),
  ('evaluate-0000000006', 1, 1, 1763000093.0, 'state', 'QUEUED', 'attempt 1'),
  ('evaluate-0000000006', 2, 1, 1763000099.0, 'state', 'RUNNING', NULL),
  ('evaluate-0000000006', 3, 1, 1763000102.0, 'log', 'RUNNING', 'half way'),
  ('evaluate-0000000006', 4, 1, 1763000105.0, 'log', 'RUNNING', 'published evaluations/5555555555555555'),
  ('evaluate-0000000006', 5, 1, 1763000108.0, 'state', 'SUCCEEDED', NULL),
  ('extract-0000000007', 1, 1, 1763000111.0, 'state', 'QUEUED', 'attempt 1'),
  ('extract-0000000007', 2, 1, 1763000117.0, 'state', 'RUNNING', NULL),
  ('extract-0000000007', 3, 1, 1763000120.0, 'log', 'RUNNING', 'half way'),
  ('extract-0000000007', 4, 1, 1763000123.0, 'log', 'RUNNING', 'published features/6666666666666666'),
  ('extract-0000000007', 5, 1, 1763000126.0, 'state', 'SUCCEEDED', NULL),
  ('train-0000000008', 1, 1, 1763000129.0, 'state', 'QUEUED', 'attempt 1'),
  ('train-0000000008', 2, 1, 1763000135.0, 'state', 'RUNNING', NULL),
  ('train-0000000008', 3, 1, 1763000138.0, 'state', 'FAILED', 'it doesn''t fit'),
  ('train-0000000008', 4, 2, 1762999642.5, 'state', 'QUEUED', 'attempt 2'),
  ('train-0000000008', 5, 2, 1762999648.5, 'state', 'RUNNING', 'going on'),
  ('train-0000000008', 6, 2, 1762999653.0, 'state', 'CANCELLING', 'stop requested'),
  ('train-0000000008', 7, 2, 1762999656.0, 'state', 'CANCELLED', NULL),
  ('train-0000000009', 1, 1, 1763000259.0, 'state', 'QUEUED', 'attempt 1'),
  ('train-0000000009', 2, 1, 1763000265.0, 'state', 'WAITING', 'waits for 2 GPU'),
  ('train-0000000009', 3, 1, 1763000269.5, 'state', 'RUNNING', NULL),
  ('report-000000000a', 1, 1, 1763000272.5, 'state', 'QUEUED', 'attempt 1');

INSERT INTO artifacts (kind, id, job_id, attempt, stage, stage_version, label, inputs, summary, bytes, created_at) VALUES
  ('models', '1111111111111111', 'download-0000000001', 1, 'download', 1, 'tiny', '{}', '{"architecture": "gpt2", "model_type": "gpt2", "n_layers": 2, "d_model": 64, "vocab_size": 512, "context_length": 128, "parameters": 123456, "dtype": "float32", "tied_embeddings": true}', 1024, 1763000013.5),
  ('datasets', '2222222222222222', 'download-0000000002', 1, 'download', 1, 'it''s a text; really', '{}', '{"documents": 12, "text_bytes": 3456, "splits": {"train": {"documents": 11, "text_bytes": 3000}, "test": {"documents": 1, "text_bytes": 456}}, "columns": ["text"]}', 1024, 1763000031.5),
  ('tokens', '3333333333333333', 'tokenize-0000000003', 1, 'tokenize', 1, 'rows of 32 tokens', '{"dataset": "datasets/2222222222222222", "model": "models/1111111111111111"}', '{"rows": 40, "tokens": 1200, "data_tokens": 1100, "documents": 12, "splits": {"train": {"rows": 36}, "test": {"rows": 4}}}', 1024, 1763000049.5),
  ('activations', '7777777777777777', 'harvest-0000000004', 1, 'harvest', 1, 'blocks.1.hook_resid_post (bf16)', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333"}', '{"rows": 36, "dtype": "bf16"}', 1024, 1763000067.5),
  ('saes', '4444444444444444', 'train-0000000005', 1, 'train', 1, 'topk 256 k=8 at blocks.1.hook_resid_post', '{"model": "models/1111111111111111", "tokens": "tokens/3333333333333333", "activations": "activations/7777777777777777"}', '{"step": 9, "ev": 0.5}', 1024, 1763000085.5),
  ('evaluations', '5555555555555555', 'evaluate-0000000006', 1, 'evaluate', 1, 'of saes/4444444444444444', '{"sae": "saes/4444444444444444"}', '{"sae": "saes/4444444444444444", "split": "test", "rows": 4, "tokens": 110, "ev": 0.71, "l0": 8.0, "alive": 201, "ce_score_zero": 0.9, "kl_score_zero": 0.8}', 1024, 1763000103.5),
  ('features', '6666666666666666', 'extract-0000000007', 1, 'extract', 1, 'of saes/4444444444444444', '{"sae": "saes/4444444444444444"}', '{"sae": "saes/4444444444444444", "hook": "blocks.1.hook_resid_post", "split": "train", "rows": 36, "tokens": 1152, "data_positions": 1100, "n_features": 256, "alive": 199, "l0": 8.0, "excluded": {}}', 1024, 1763000121.5);
