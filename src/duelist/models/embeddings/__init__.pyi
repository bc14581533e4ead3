from .files import embedding_id as embedding_id
from .files import write_embeddings as write_embeddings
