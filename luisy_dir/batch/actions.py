"""Actions: methods of a batch that are written for one item."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, overload

from luisy_dir.errors import DefinitionError


class _Action:
    """A decorated method, until its class has taken it apart."""

    def __init__(self, method: Any, options: dict[str, Any]) -> None:
        self.method = method
        self.options = options
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        raw = f"_{name}_"
        if raw in vars(owner):
            raise DefinitionError(
                f"{owner.__name__}.{name} is an action, and its method for one item would be {raw!r}, which the class "
                "has already. Give one of them another name."
            )
        plain = getattr(self.method, "__func__", self.method)
        plain.__name__, plain.__qualname__ = raw, f"{owner.__qualname__}.{raw}"  # so that it is found again by name
        setattr(owner, raw, self.method)
        setattr(owner, name, _called(self.method, self.options, owner, name))

    def __get__(self, batch: Any, owner: type | None = None) -> Any:
        """Where it was put into a class after that was made."""
        if batch is None:
            return self
        return functools.partial(_called(self.method, self.options, owner or type(batch), ""), batch)


def _called(method: Any, options: dict[str, Any], owner: type, name: str) -> Callable[..., Any]:
    plain = getattr(method, "__func__", method)

    @functools.wraps(plain)
    def action(batch: Any, *args: Any, **kwargs: Any) -> Any:
        call = {**batch.apply_defaults, **options, **kwargs}
        options_of_apply = [call.pop(option, None) for option in ("init", "post", "src", "dst")]
        return batch.apply_parallel(method.__get__(batch, type(batch)), *options_of_apply, *args, **call)

    if name:
        action.__name__, action.__qualname__ = name, f"{owner.__qualname__}.{name}"
    return action


@overload
def apply_parallel(method: Callable[..., Any], /) -> Any: ...
@overload
def apply_parallel(**options: Any) -> Callable[[Callable[..., Any]], Any]: ...
def apply_parallel(method: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make an action of a :class:`~luisy_dir.Batch` out of a method that is written for one item.

    Called, the action applies the method to each item, with :meth:`luisy_dir.Batch.apply_parallel`; positional
    arguments are the method's own, keywords may be options of ``apply_parallel`` too. The method itself is there under
    the name with an underscore before and behind, for calls of one item from other methods.

    Parameters
    ----------
    method
        Gets the item after ``self``; may be a static method.
    options
        Of :meth:`luisy_dir.Batch.apply_parallel`, for calls that do not say otherwise; before those of the class, its
        ``apply_defaults``.

    Returns
    -------
    callable
        Returns the batch, unless ``post`` returns something else.

    Raises
    ------
    DefinitionError
        The class has an attribute of the underscored name already.

    Examples
    --------
    >>> from luisy_dir import Batch, apply_parallel
    >>> class Numbers(Batch):
    ...     components = ("numbers",)
    ...
    ...     @apply_parallel(src="numbers")
    ...     def scale(self, number, factor):
    ...         return number * factor
    ...
    ...     @apply_parallel(src="numbers")
    ...     def scale_twice(self, number, factor):
    ...         return self._scale_(self._scale_(number, factor), factor)
    >>> batch = Numbers.from_data(data=[1, 2, 3])
    >>> batch.scale(10).scale_twice(2, dst="more").more
    array([ 40,  80, 120])
    """
    if method is None:
        return lambda method: _Action(method, options)
    return _Action(method, options)
