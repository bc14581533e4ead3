BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
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
INSERT INTO "labels" VALUES(1,'374c331d1ee345d69912080f3bc2ceb8','b942367bdf0a887d','ann','a',NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-28T17:37:48.780273+00:00');
INSERT INTO "labels" VALUES(2,'f0be1d1bd09f487b9c56a3a85b79c124','0b1d128556995d2a','ann','a',NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-28T17:37:48.783514+00:00');
INSERT INTO "labels" VALUES(3,'6eeac595434e4febae24d1f77d169a29','20e77686b23dbe0b','ann','a',NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-28T17:37:48.785091+00:00');
INSERT INTO "labels" VALUES(4,'x1','cdba41948321ecec','ann','b',3.5,'ba','2026-01-31T12:00:00+00:00',NULL,NULL,NULL,'2026-11-28T17:37:48.846497+00:00');
INSERT INTO "labels" VALUES(5,'x2','cdba41948321ecec','ann','a',NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-28T17:37:48.848430+00:00');
INSERT INTO "labels" VALUES(6,'x3','5da08ebb6681c416','crowd','tie',NULL,NULL,NULL,1,1,3,'2026-11-28T17:37:48.850012+00:00');
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
INSERT INTO "pairs" VALUES('b942367bdf0a887d','82f8e2007070275d','0474f4a557ccc612',1,0,0.5,'nats',0.1,1.0,NULL,NULL);
INSERT INTO "pairs" VALUES('0b1d128556995d2a','e89a4ce10b20d8e1','790af59b2f3aa760',1,1,0.5,'nats',0.1,1.0,NULL,NULL);
INSERT INTO "pairs" VALUES('20e77686b23dbe0b','fe2946357c2b0387','29618a1c298cd579',1,2,0.5,'nats',0.1,1.0,NULL,NULL);
INSERT INTO "pairs" VALUES('cdba41948321ecec','785a741531e36682','328c118d3ac38bad',2,0,0.5,'nats',0.1,1.0,NULL,NULL);
INSERT INTO "pairs" VALUES('5da08ebb6681c416','f74d38c384391d12','d4aa7a9b42c16971',2,1,0.5,'nats',0.1,1.0,NULL,NULL);
INSERT INTO "pairs" VALUES('0742c12c08a7bbb7','0d4b1feb70252c7a','fba88ee3604b3f8b',2,2,0.5,'nats',0.1,1.0,NULL,NULL);
CREATE TABLE preferences_files (
	number INTEGER NOT NULL, 
	labels INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "preferences_files" VALUES(1,0,'5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456','2026-11-28T17:37:48.744145+00:00');
INSERT INTO "preferences_files" VALUES(2,3,'04e11f64a9d45ed1854634afff26cedb7bcfb64e31af8f2c119277b66896054b','2026-11-28T17:37:48.822659+00:00');
INSERT INTO "preferences_files" VALUES(3,6,'d6459ae95014bbda21c49e5d7b3014d6dfac527f4fb41f4a438af680d87b047d','2026-11-28T17:37:48.865030+00:00');
CREATE TABLE prompts (
	id TEXT NOT NULL, 
	messages JSON NOT NULL, 
	plain BOOLEAN NOT NULL, 
	columns JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "prompts" VALUES('b95954c739991ae1','[{"role": "user", "content": "Say something."}]',1,'{}');
CREATE TABLE recipes (
	number INTEGER NOT NULL, 
	content JSON NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "recipes" VALUES(1,'{"name": "small", "seed": 0, "rounds": 2, "budget": 3, "beta": 0.1, "pool": "fixed", "policy": {"model": "a/model"}, "acquisition": {"name": "random"}, "trainer": {"name": "dpo", "train": {"learning_rate": 1e-05}}, "evaluation": {"group_by": null}}','2026-11-28T17:37:48.680265+00:00');
CREATE TABLE responses (
	id TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	text TEXT NOT NULL, 
	prompt_token_ids JSON NOT NULL, 
	token_ids JSON NOT NULL, 
	round INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(prompt_id) REFERENCES prompts (id)
);
INSERT INTO "responses" VALUES('82f8e2007070275d','b95954c739991ae1','yes 1 0','[1]','[2, 4]',1);
INSERT INTO "responses" VALUES('0474f4a557ccc612','b95954c739991ae1','no 1 0','[1]','[2, 4]',1);
INSERT INTO "responses" VALUES('e89a4ce10b20d8e1','b95954c739991ae1','no 1 1','[1]','[2, 4]',1);
INSERT INTO "responses" VALUES('790af59b2f3aa760','b95954c739991ae1','yes 1 1','[1]','[2, 4]',1);
INSERT INTO "responses" VALUES('fe2946357c2b0387','b95954c739991ae1','yes 1 2','[1]','[2, 4]',1);
INSERT INTO "responses" VALUES('29618a1c298cd579','b95954c739991ae1','no 1 2','[1]','[2, 4]',1);
INSERT INTO "responses" VALUES('785a741531e36682','b95954c739991ae1','yes 2 0','[1]','[2, 5]',2);
INSERT INTO "responses" VALUES('328c118d3ac38bad','b95954c739991ae1','no 2 0','[1]','[2, 5]',2);
INSERT INTO "responses" VALUES('f74d38c384391d12','b95954c739991ae1','no 2 1','[1]','[2, 5]',2);
INSERT INTO "responses" VALUES('d4aa7a9b42c16971','b95954c739991ae1','yes 2 1','[1]','[2, 5]',2);
INSERT INTO "responses" VALUES('0d4b1feb70252c7a','b95954c739991ae1','no 2 2','[1]','[2, 5]',2);
INSERT INTO "responses" VALUES('fba88ee3604b3f8b','b95954c739991ae1','yes 2 2','[1]','[2, 5]',2);
CREATE TABLE rounds (
	round INTEGER NOT NULL, 
	metrics JSON NOT NULL, 
	PRIMARY KEY (round)
);
INSERT INTO "rounds" VALUES(0,'{"round": 0, "labels": 0, "mean_reward": 0.0, "kl": 0.0, "win_rate": 0.5, "j": 0.0, "asked": 0, "seconds": {"train": 0.004}}');
INSERT INTO "rounds" VALUES(1,'{"round": 1, "labels": 3, "mean_reward": 0.25, "kl": 0.1, "win_rate": 0.5, "j": 0.0, "asked": 3, "seconds": {"featurize": 0.002, "select": 0.002, "train": 0.003}}');
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
INSERT INTO "stages" VALUES(0,'train','rounds/000/adapter','0fd2f085747ac92a07b399035ca77837855c0b5c4c487d94733e5929dd0eeb4e',3.79813799997918977169e-03,'{}','2026-11-28T17:37:48.710527+00:00');
INSERT INTO "stages" VALUES(1,'featurize','rounds/001/features.npz','a65a5aa76a9b1dad88c44f1f30516afebc8202d4fb820111f13e24b034b986f2',2.37838399993961502332e-03,'{}','2026-11-28T17:37:48.754779+00:00');
INSERT INTO "stages" VALUES(1,'select','rounds/001/selection.json','83c68f131f77005cce5fab79a2e90f05d0e26496f17365a067af0730ed592d18',1.69397900003787071909e-03,'{}','2026-11-28T17:37:48.771563+00:00');
INSERT INTO "stages" VALUES(1,'train','rounds/001/adapter','68783af8876b4f1b4f24cfc8bf080b5a57e789b38c3c7c25eeb1a98a7f179320',2.92458800004169461317e-03,'{}','2026-11-28T17:37:48.791275+00:00');
INSERT INTO "stages" VALUES(2,'featurize','rounds/002/features.npz','d447cdc3c6e2fcdf920bfb7cb187ae24391f841202d13e9247215621ec33f314',2.48497400002634094562e-03,'{}','2026-11-28T17:37:48.831945+00:00');
INSERT INTO "stages" VALUES(2,'select','rounds/002/selection.json','ae458ab91126a72010f598bfdfbcbd0bf2e5fb143417e4d5b3aa07dd8ebf02a9',1.6349190000255475752e-03,'{}','2026-11-28T17:37:48.841923+00:00');
CREATE INDEX ix_pairs_round ON pairs (round);
CREATE INDEX ix_labels_pair_id ON labels (pair_id);
COMMIT;
