BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE labels (
	number INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	pair_id TEXT NOT NULL, 
	annotator TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	seconds DOUBLE, 
	shown TEXT, 
	time TEXT, 
	n_a INTEGER, 
	n_b INTEGER, 
	n_eq INTEGER, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (id), 
	FOREIGN KEY(pair_id) REFERENCES pairs (id)
);
INSERT INTO "labels" VALUES(1,'label 0','a0b14e1f976d69e6','ann','a',NULL,NULL,'2026-01-01T00:00:00+00:00',NULL,NULL,NULL,'2026-01-01T00:00:00+00:00');
INSERT INTO "labels" VALUES(2,'label 1','ab7d57d09715e692','ann','b',NULL,NULL,'2026-01-01T00:00:00+00:00',NULL,NULL,NULL,'2026-01-01T00:00:00+00:00');
INSERT INTO "labels" VALUES(3,'label 2','0c8bc9dd29bd181f','ann','a',NULL,NULL,'2026-01-01T00:00:00+00:00',NULL,NULL,NULL,'2026-01-01T00:00:00+00:00');
CREATE TABLE pairs (
	id TEXT NOT NULL, 
	a TEXT NOT NULL, 
	b TEXT NOT NULL, 
	round INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	score DOUBLE NOT NULL, 
	unit TEXT NOT NULL, 
	margin DOUBLE NOT NULL, weight DOUBLE DEFAULT '1' NOT NULL, drawn_a TEXT, drawn_b TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (round, position), 
	FOREIGN KEY(a) REFERENCES responses (id), 
	FOREIGN KEY(b) REFERENCES responses (id)
);
INSERT INTO "pairs" VALUES('a0b14e1f976d69e6','51bef6a7221d0e0c','96182415d9c4ef19',1,0,0.5,'nats',0.1,1.0,NULL,NULL);
INSERT INTO "pairs" VALUES('ab7d57d09715e692','51bef6a7221d0e0c','12cb8e7f6aef53bf',1,1,0.5,'nats',0.1,0.25,'reference','policy');
INSERT INTO "pairs" VALUES('0c8bc9dd29bd181f','96182415d9c4ef19','12cb8e7f6aef53bf',2,0,0.5,'nats',0.1,1.0,'reference','policy');
CREATE TABLE preferences_files (
	number INTEGER NOT NULL, 
	labels INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE prompts (
	id TEXT NOT NULL, 
	messages JSON NOT NULL, 
	plain BOOLEAN NOT NULL, 
	columns JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "prompts" VALUES('6a5d297277612593','[{"role": "user", "content": "question"}]',1,'{"kind": "x"}');
CREATE TABLE recipes (
	number INTEGER NOT NULL, 
	content JSON NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE responses (
	id TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	text TEXT NOT NULL, 
	prompt_token_ids JSON NOT NULL, 
	token_ids JSON NOT NULL, 
	drawn_from TEXT NOT NULL, 
	round INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(prompt_id) REFERENCES prompts (id)
);
INSERT INTO "responses" VALUES('51bef6a7221d0e0c','6a5d297277612593','answer 1','[1, 2]','[4, 4]','reference',1);
INSERT INTO "responses" VALUES('96182415d9c4ef19','6a5d297277612593','answer 0','[1, 2]','[3, 4]','policy',1);
INSERT INTO "responses" VALUES('12cb8e7f6aef53bf','6a5d297277612593','answer 2','[1, 2]','[5, 4]','policy',1);
CREATE TABLE rounds (
	round INTEGER NOT NULL, 
	metrics JSON NOT NULL, 
	PRIMARY KEY (round)
);
CREATE TABLE stages (
	round INTEGER NOT NULL, 
	stage TEXT NOT NULL, 
	artifact TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	seconds DOUBLE NOT NULL, 
	info JSON NOT NULL, 
	finished_at TEXT NOT NULL, 
	PRIMARY KEY (round, stage)
);
INSERT INTO "stages" VALUES(1,'select','rounds/001/selection.json','00',0.1,'{}','2026-01-01T00:00:00+00:00');
INSERT INTO "stages" VALUES(2,'select','rounds/002/selection.json','00',0.1,'{}','2026-01-01T00:00:00+00:00');
CREATE INDEX ix_pairs_round ON pairs (round);
CREATE INDEX ix_labels_pair_id ON labels (pair_id);
COMMIT;
