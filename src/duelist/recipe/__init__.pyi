from .preparation import prepare as prepare
from .recipe import (
    Recipe as Recipe,
)
from .recipe import (
    load_recipe as load_recipe,
)
from .recipe import (
    parse_recipe as parse_recipe,
)
from .recipe import (
    recipe_content as recipe_content,
)
