from .preparation import prepare as prepare
from .reading import (
    load_recipe as load_recipe,
)
from .reading import (
    parse_recipe as parse_recipe,
)
from .recipe import (
    Recipe as Recipe,
)
from .recipe import (
    recipe_content as recipe_content,
)
